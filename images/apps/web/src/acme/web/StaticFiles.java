package acme.web;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpHandler;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;

/**
 * Serves the files of a directory.
 *
 * <p>They are all read at the start: they are part of the image and cannot change, and no path that
 * a request asks for ever reaches the file system.
 */
final class StaticFiles implements HttpHandler {
    private static final Map<String, String> TYPES = Map.of(
            "css", "text/css; charset=utf-8",
            "html", "text/html; charset=utf-8",
            "svg", "image/svg+xml");

    private final Map<String, Response> files = new HashMap<>();

    StaticFiles(Path root) throws IOException {
        try (var paths = Files.walk(root)) {
            paths.filter(Files::isRegularFile).forEach(path -> add("/" + root.relativize(path), path));
        }
    }

    private void add(String name, Path path) {
        var type = TYPES.getOrDefault(name.substring(name.lastIndexOf('.') + 1), "application/octet-stream");
        try {
            var response = new Response(200, type, Files.readAllBytes(path));
            files.put(name, response);
            if (name.endsWith("/index.html")) {
                files.put(name.substring(0, name.length() - "index.html".length()), response);
            }
        } catch (IOException unreadable) {
            throw new UncheckedIOException(unreadable);
        }
    }

    @Override
    public void handle(HttpExchange exchange) throws IOException {
        var method = exchange.getRequestMethod();
        if (!method.equals("GET") && !method.equals("HEAD")) {
            exchange.getResponseHeaders().set("Allow", "GET, HEAD");
            Response.text(405, "only GET and HEAD\n").send(exchange);
            return;
        }
        var file = files.get(exchange.getRequestURI().getPath());
        (file == null ? Response.text(404, "no such page\n") : file).send(exchange);
    }
}
