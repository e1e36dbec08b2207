// Runs statements for a test: a JSON line in says what to ask in a transaction, and a JSON line out what came of it.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

type parameter struct {
	As    string          `json:"as"`
	Value json.RawMessage `json:"value"`
}

type request struct {
	URL        string      `json:"url"`
	Mode       string      `json:"mode"`
	Statements []string    `json:"before"`
	SQL        string      `json:"sql"`
	Parameters []parameter `json:"parameters"`
	Commit     bool        `json:"commit"`
}

type answer struct {
	Value    any    `json:"value,omitempty"`
	SQLState string `json:"sqlstate,omitempty"`
	Message  string `json:"message,omitempty"`
}

// As Go programs have them.
func (p parameter) goValue() (any, error) {
	var err error
	switch p.As {
	case "json":
		var value map[string]any
		err = json.Unmarshal(p.Value, &value)
		return value, err
	case "bigint":
		var value int64
		err = json.Unmarshal(p.Value, &value)
		return value, err
	case "seconds":
		var value float64
		err = json.Unmarshal(p.Value, &value)
		return time.Duration(value * float64(time.Second)), err
	case "moment":
		var value time.Time
		err = json.Unmarshal(p.Value, &value)
		return value, err
	default:
		var value *string
		err = json.Unmarshal(p.Value, &value)
		return value, err
	}
}

func run(ctx context.Context, asked request) (any, error) {
	config, err := pgx.ParseConfig(asked.URL)
	if err != nil {
		return nil, err
	}
	if asked.Mode == "simple" {
		config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	} else if asked.Mode == "exec" {
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	connection, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	defer connection.Close(ctx)
	transaction, err := connection.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer transaction.Rollback(ctx)
	for _, statement := range asked.Statements {
		_, _ = transaction.Exec(ctx, statement)
	}
	values := []any{}
	for _, given := range asked.Parameters {
		value, err := given.goValue()
		if err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	var result any
	if err := transaction.QueryRow(ctx, asked.SQL, values...).Scan(&result); err != nil {
		return nil, err
	}
	if asked.Commit {
		return result, transaction.Commit(ctx)
	}
	return result, nil
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked request
		var said answer
		err := json.Unmarshal(lines.Bytes(), &asked)
		if err == nil {
			said.Value, err = run(context.Background(), asked)
		}
		var refusal *pgconn.PgError
		if errors.As(err, &refusal) {
			said = answer{SQLState: refusal.Code, Message: refusal.Message}
		} else if err != nil {
			said = answer{SQLState: "none", Message: err.Error()}
		}
		_ = out.Encode(said)
	}
}
