-- oldest code: 3
-- What is known of a worker's death, for the task that may have caused it. Code of schema 3 and 4 works on, and says less.

ALTER TABLE halfstep.lease ADD COLUMN peak_bytes bigint;      -- most memory that its worker and the bodies used together, as far as it looked
ALTER TABLE halfstep.worker ADD COLUMN exit_code integer;     -- of its process, where somebody saw it end; negative: a signal

-- How a worker's process ended, in words.
CREATE FUNCTION halfstep.exit_words(code integer) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN code IS NULL THEN 'how its process ended is not known here'
                WHEN code >= 0 THEN format('its process exited with code %s', code)
                ELSE format('its process was ended by signal %s%s', -code,
                            (SELECT format(' (%s)', s.name) FROM (VALUES (1, 'SIGHUP'), (2, 'SIGINT'), (3, 'SIGQUIT'), (4, 'SIGILL'), (6, 'SIGABRT'),
                                (7, 'SIGBUS'), (8, 'SIGFPE'), (9, 'SIGKILL'), (11, 'SIGSEGV'), (13, 'SIGPIPE'), (15, 'SIGTERM'), (24, 'SIGXCPU'),
                                (31, 'SIGSYS')) AS s (number, name) WHERE s.number = -code)) END
$$;

-- What a worker that died leaves behind, in one sentence.
CREATE FUNCTION halfstep.death_words(worker uuid) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT format('Worker %s on %s: %s%s.', coalesce(w.name, worker::text), coalesce(w.host, 'an unknown host'), halfstep.exit_words(w.exit_code),
                  CASE WHEN l.peak_bytes IS NOT NULL
                       THEN format('; when it last renewed its lease it had used up to %s MiB of memory', ceil(l.peak_bytes / 1048576.0)) END)
    FROM (SELECT) here LEFT JOIN halfstep.worker w ON w.id = worker LEFT JOIN halfstep.lease l ON l.worker_id = worker
$$;

-- The last lines that an attempt has left in the log store, as far as they were written before its worker died.
CREATE FUNCTION halfstep.last_lines(task bigint, number integer, most integer) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT E'\nIts last lines:\n' || string_agg('  ' || left(line ->> 2, 200), E'\n' ORDER BY place)
    FROM (SELECT l.line, row_number() OVER (ORDER BY c.chunk, l.n) AS place, count(*) OVER () AS lines
          FROM (SELECT chunk, lines FROM halfstep.log WHERE task_id = task AND attempt = number ORDER BY chunk DESC LIMIT 2) c
          CROSS JOIN LATERAL jsonb_array_elements(c.lines) WITH ORDINALITY AS l (line, n)) told
    WHERE place > lines - most
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA halfstep FROM PUBLIC;
