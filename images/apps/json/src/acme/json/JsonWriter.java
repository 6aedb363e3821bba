package acme.json;

import java.math.BigDecimal;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Writes what {@link Json} has read, in one of two layouts. */
public final class JsonWriter {
    /** How a document is laid out. */
    public enum Layout {
        /** Two blanks a level, one member or item a line, the order of keys as read. */
        PRETTY,
        /** No blanks, keys sorted: equal documents become equal texts. */
        CANONICAL
    }

    private final Layout layout;
    private final StringBuilder out = new StringBuilder();

    private JsonWriter(Layout layout) {
        this.layout = layout;
    }

    /** The text of {@code value}, without a line end. */
    public static String write(Object value, Layout layout) {
        var writer = new JsonWriter(layout);
        writer.value(value, 0);
        return writer.out.toString();
    }

    private void value(Object value, int depth) {
        if (value instanceof Map<?, ?> members) {
            object(members, depth);
        } else if (value instanceof List<?> items) {
            array(items, depth);
        } else if (value instanceof String string) {
            string(string);
        } else if (value instanceof BigDecimal number) {
            out.append(layout == Layout.CANONICAL ? number.stripTrailingZeros() : number);
        } else {
            out.append(value);
        }
    }

    private void object(Map<?, ?> members, int depth) {
        var ordered = layout == Layout.CANONICAL ? new TreeMap<>(members) : members;
        var separator = "{";
        for (var member : ordered.entrySet()) {
            out.append(separator);
            newLine(depth + 1);
            string((String) member.getKey());
            out.append(layout == Layout.PRETTY ? ": " : ":");
            value(member.getValue(), depth + 1);
            separator = ",";
        }
        close(members.isEmpty(), "{}", depth);
    }

    private void array(List<?> items, int depth) {
        var separator = "[";
        for (var item : items) {
            out.append(separator);
            newLine(depth + 1);
            value(item, depth + 1);
            separator = ",";
        }
        close(items.isEmpty(), "[]", depth);
    }

    private void close(boolean empty, String brackets, int depth) {
        if (empty) {
            out.append(brackets);
            return;
        }
        newLine(depth);
        out.append(brackets.charAt(1));
    }

    private void newLine(int depth) {
        if (layout == Layout.PRETTY) {
            out.append('\n').append("  ".repeat(depth));
        }
    }

    private void string(String string) {
        out.append('"');
        for (var c : string.toCharArray()) {
            switch (c) {
                case '"' -> out.append("\\\"");
                case '\\' -> out.append("\\\\");
                case '\n' -> out.append("\\n");
                case '\r' -> out.append("\\r");
                case '\t' -> out.append("\\t");
                default -> {
                    // A lone half of a surrogate pair has no UTF-8 form.
                    if (c < ' ' || Character.isSurrogate(c)) {
                        out.append(String.format("\\u%04x", (int) c));
                    } else {
                        out.append(c);
                    }
                }
            }
        }
        out.append('"');
    }
}
