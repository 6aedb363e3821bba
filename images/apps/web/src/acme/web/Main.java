package acme.web;

import com.sun.net.httpserver.HttpServer;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

/** The service: {@code web SITE}, on the port that the environment names in {@code PORT}. */
public final class Main {
    /** How long requests that have begun may take after the signal to stop, in seconds. */
    private static final int GRACE = 5;

    public static void main(String[] arguments) throws IOException {
        if (arguments.length != 1) {
            System.err.println("usage: web SITE");
            System.exit(2);
        }
        var port = Integer.parseInt(System.getenv().getOrDefault("PORT", "8080"));
        var server = HttpServer.create(new InetSocketAddress(port), 0);
        var workers = Executors.newFixedThreadPool(2 * Runtime.getRuntime().availableProcessors());
        server.setExecutor(workers);
        server.createContext("/", new StaticFiles(Path.of(arguments[0])));
        server.createContext("/json", new LayOutJson());
        server.createContext("/health", exchange -> Response.text(200, "ok\n").send(exchange));

        Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(server, workers)));
        server.start();
        System.out.println("listening on port " + port);
    }

    /** Lets the requests that have begun end; a server told to wait itself waits even for nothing. */
    private static void stop(HttpServer server, ExecutorService workers) {
        System.out.println("stopping");
        workers.shutdown();
        try {
            if (!workers.awaitTermination(GRACE, TimeUnit.SECONDS)) {
                System.err.println("stopped before every request was answered");
            }
        } catch (InterruptedException hurried) {
            Thread.currentThread().interrupt();
        }
        server.stop(0);
    }
}
