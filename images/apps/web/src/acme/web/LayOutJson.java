package acme.web;

import acme.json.Json;
import acme.json.JsonException;
import acme.json.JsonWriter;
import acme.json.JsonWriter.Layout;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpHandler;

import java.io.IOException;

import static java.nio.charset.StandardCharsets.UTF_8;

/** Answers a JSON document with the same document, laid out. */
final class LayOutJson implements HttpHandler {
    /** Larger documents are refused before they fill the memory; in bytes. */
    private static final int MAX_SIZE = 256 * 1024;

    @Override
    public void handle(HttpExchange exchange) throws IOException {
        response(exchange).send(exchange);
    }

    private static Response response(HttpExchange exchange) throws IOException {
        if (!exchange.getRequestMethod().equals("POST")) {
            exchange.getResponseHeaders().set("Allow", "POST");
            return Response.text(405, "only POST\n");
        }
        var document = exchange.getRequestBody().readNBytes(MAX_SIZE + 1);
        if (document.length > MAX_SIZE) {
            return Response.text(413, "larger than " + MAX_SIZE + " bytes\n");
        }
        var layout = "layout=canonical".equals(exchange.getRequestURI().getQuery()) ? Layout.CANONICAL : Layout.PRETTY;
        try {
            var text = JsonWriter.write(Json.read(new String(document, UTF_8)), layout) + "\n";
            return new Response(200, "application/json", text.getBytes(UTF_8));
        } catch (JsonException wrong) {
            return Response.text(400, wrong.getMessage() + "\n");
        }
    }
}
