package acme.web;

import com.sun.net.httpserver.HttpExchange;

import java.io.IOException;

import static java.nio.charset.StandardCharsets.UTF_8;

/** A whole answer, held in memory. */
record Response(int status, String type, byte[] body) {
    static Response text(int status, String text) {
        return new Response(status, "text/plain; charset=utf-8", text.getBytes(UTF_8));
    }

    /** Answers, and ends the exchange; HEAD gets the headers of GET and no body. */
    void send(HttpExchange exchange) throws IOException {
        try (exchange) {
            var headers = exchange.getResponseHeaders();
            headers.set("Content-Type", type);
            headers.set("X-Content-Type-Options", "nosniff");
            if (exchange.getRequestMethod().equals("HEAD")) {
                headers.set("Content-Length", Integer.toString(body.length));
                exchange.sendResponseHeaders(status, -1);
                return;
            }
            exchange.sendResponseHeaders(status, body.length == 0 ? -1 : body.length);
            exchange.getResponseBody().write(body);
        }
    }
}
