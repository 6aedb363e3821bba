package acme.json;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

import static java.nio.charset.StandardCharsets.UTF_8;

/** The command: {@code json [--canonical] [FILE..]}, without files the standard input. */
public final class Main {
    private static final String STDIN = "-";

    public static void main(String[] arguments) throws IOException {
        var layout = JsonWriter.Layout.PRETTY;
        var files = new ArrayList<String>();
        for (var argument : arguments) {
            if (argument.equals("--canonical")) {
                layout = JsonWriter.Layout.CANONICAL;
            } else if (argument.startsWith("-") && !argument.equals(STDIN)) {
                System.err.println("usage: json [--canonical] [FILE..]");
                System.exit(2);
            } else {
                files.add(argument);
            }
        }
        System.exit(run(files.isEmpty() ? List.of(STDIN) : files, layout));
    }

    /** Writes every document; the exit code is 1 when one of them could not be read. */
    private static int run(List<String> files, JsonWriter.Layout layout) {
        var out = new PrintStream(System.out, true, UTF_8);
        var exit = 0;
        for (var file : files) {
            try {
                out.println(JsonWriter.write(Json.read(content(file)), layout));
            } catch (JsonException wrong) {
                System.err.println(file + ":" + wrong.getMessage());
                exit = 1;
            } catch (IOException unreadable) {
                System.err.println(file + ": cannot be read: " + unreadable);
                exit = 1;
            }
        }
        return exit;
    }

    private static String content(String file) throws IOException {
        return file.equals(STDIN) ? new String(System.in.readAllBytes(), UTF_8) : Files.readString(Path.of(file));
    }
}
