package acme.json;

/** Says where a text stops being JSON, and why; lines and columns count from 1. */
public final class JsonException extends Exception {
    private static final long serialVersionUID = 1;

    JsonException(int line, int column, String what) {
        super(line + ":" + column + ": " + what);
    }
}
