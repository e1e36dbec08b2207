import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.time.Instant;
import java.util.Base64;
import org.postgresql.util.PGInterval;
import org.postgresql.util.PGobject;

/**
 * Runs statements for a test. Java has no JSON of its own, so a line is fields in base64, with spaces between them: the URL, "commit" or
 * not, how many statements come before, these, the statement, and type and value of each parameter. A line out is "value" and the
 * result, or the SQLSTATE and the message.
 */
public class Callers {
    public static void main(String[] given) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] fields = line.split(" ", -1);
            for (int n = 0; n < fields.length; n++) {
                fields[n] = new String(Base64.getDecoder().decode(fields[n]), StandardCharsets.UTF_8);
            }
            try {
                say("value", run(fields));
            } catch (SQLException error) {
                say(String.valueOf(error.getSQLState()), error.getMessage());
            }
        }
    }

    private static String run(String[] fields) throws Exception {
        int before = 3 + Integer.parseInt(fields[2]);
        try (Connection connection = DriverManager.getConnection(fields[0])) {
            connection.setAutoCommit(false);
            for (int n = 3; n < before; n++) {
                try (Statement statement = connection.createStatement()) {
                    statement.execute(fields[n]);
                } catch (SQLException expected) {
                    // the test wants a transaction that is aborted
                }
            }
            String result;
            try (PreparedStatement statement = connection.prepareStatement(fields[before])) {
                for (int n = before + 1, place = 1; n < fields.length; n += 2, place++) {
                    set(statement, place, fields[n], fields[n + 1]);
                }
                try (ResultSet rows = statement.executeQuery()) {
                    rows.next();
                    result = rows.getString(1);
                }
            }
            if (fields[1].equals("commit")) {
                connection.commit();
            } else {
                connection.rollback();
            }
            return result;
        }
    }

    /** As Java programs have them. */
    private static void set(PreparedStatement statement, int place, String type, String value) throws SQLException {
        switch (type) {
            case "json" -> {
                PGobject json = new PGobject();
                json.setType("json");
                json.setValue(value);
                statement.setObject(place, json);
            }
            case "bigint" -> statement.setLong(place, Long.parseLong(value));
            case "seconds" -> statement.setObject(place, new PGInterval(value + " seconds"));
            case "moment" -> statement.setTimestamp(place, Timestamp.from(Instant.parse(value)));
            default -> statement.setString(place, value);
        }
    }

    private static void say(String kind, String text) {
        Base64.Encoder encoder = Base64.getEncoder();
        System.out.println(kind + " " + encoder.encodeToString(String.valueOf(text).getBytes(StandardCharsets.UTF_8)));
    }
}
