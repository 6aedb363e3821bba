package acme.pages;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * The command: {@code pages SOURCE TARGET}.
 *
 * <p>Every {@code .md} file under SOURCE becomes an {@code .html} file at the same place under
 * TARGET, laid out by {@code SOURCE/template.html}, where <code>{{title}}</code> and
 * <code>{{body}}</code> stand for the page. Every other file is copied.
 */
public final class Main {
    private static final String TEMPLATE = "template.html";

    private final Path source;
    private final Path target;
    private final String template;

    private Main(Path source, Path target) throws IOException {
        this.source = source;
        this.target = target;
        this.template = Files.readString(source.resolve(TEMPLATE));
    }

    public static void main(String[] arguments) throws IOException {
        if (arguments.length != 2) {
            System.err.println("usage: pages SOURCE TARGET");
            System.exit(2);
        }
        var source = Path.of(arguments[0]);
        var main = new Main(source, Path.of(arguments[1]));
        try (var files = Files.walk(source)) {
            for (var file : files.filter(Files::isRegularFile).sorted().toList()) {
                main.file(file);
            }
        }
    }

    private void file(Path file) throws IOException {
        var name = source.relativize(file).toString();
        if (name.equals(TEMPLATE)) {
            return;
        }
        var page = name.endsWith(".md");
        var output = target.resolve(page ? name.replaceAll("md$", "html") : name);
        Files.createDirectories(output.getParent());
        if (page) {
            Files.writeString(output, page(Files.readAllLines(file), name));
        } else {
            Files.write(output, Files.readAllBytes(file));
        }
        System.out.println(output);
    }

    private String page(List<String> lines, String name) {
        return template
                .replace("{{title}}", Markdown.title(lines, name))
                .replace("{{body}}", Markdown.html(lines));
    }
}
