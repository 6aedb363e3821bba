package acme.json;

import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Reads JSON strictly (RFC 8259, and no key twice in one object).
 *
 * <p>Values are {@code Map}, {@code List}, {@code String}, {@code BigDecimal}, {@code Boolean} and
 * {@code null}; objects keep the order of their keys, numbers keep all their digits.
 */
public final class Json {
    /** Deeper documents are refused: they would overflow the stack, and nobody writes them. */
    private static final int MAX_DEPTH = 500;

    /** Stands for the end of the text: as a control character it begins nothing that is valid. */
    private static final char END = '\0';

    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    /** Reads the one value that {@code text} holds. */
    public static Object read(String text) throws JsonException {
        var json = new Json(text);
        var value = json.value(0);
        if (json.at < text.length()) {
            throw json.wrong("nothing may follow the value");
        }
        return value;
    }

    private Object value(int depth) throws JsonException {
        if (depth > MAX_DEPTH) {
            throw wrong("nested deeper than " + MAX_DEPTH);
        }
        skipBlanks();
        var value = switch (peek()) {
            case '{' -> object(depth);
            case '[' -> array(depth);
            case '"' -> string();
            case 't' -> word("true", Boolean.TRUE);
            case 'f' -> word("false", Boolean.FALSE);
            case 'n' -> word("null", null);
            default -> number();
        };
        skipBlanks();
        return value;
    }

    private Map<String, Object> object(int depth) throws JsonException {
        var members = new LinkedHashMap<String, Object>();
        at++;
        skipBlanks();
        if (take('}')) {
            return members;
        }
        do {
            skipBlanks();
            var start = at;
            var key = string();
            if (members.containsKey(key)) {
                at = start;
                throw wrong("the key is there twice");
            }
            skipBlanks();
            need(':');
            members.put(key, value(depth + 1));
        } while (take(','));
        need('}');
        return members;
    }

    private List<Object> array(int depth) throws JsonException {
        var items = new ArrayList<Object>();
        at++;
        skipBlanks();
        if (take(']')) {
            return items;
        }
        do {
            items.add(value(depth + 1));
        } while (take(','));
        need(']');
        return items;
    }

    private String string() throws JsonException {
        need('"');
        var string = new StringBuilder();
        while (!take('"')) {
            var next = peek();
            if (next < ' ') {
                throw wrong(at == text.length() ? "the string has no end" : "a control character must be escaped");
            }
            at++;
            string.append(next == '\\' ? escape() : next);
        }
        return string.toString();
    }

    private char escape() throws JsonException {
        var kind = peek();
        at++;
        return switch (kind) {
            case '"', '\\', '/' -> kind;
            case 'b' -> '\b';
            case 'f' -> '\f';
            case 'n' -> '\n';
            case 'r' -> '\r';
            case 't' -> '\t';
            case 'u' -> unicode();
            default -> {
                at--;
                throw wrong("no such escape");
            }
        };
    }

    private char unicode() throws JsonException {
        var code = 0;
        for (var digits = 0; digits < 4; digits++) {
            var next = peek();
            var digit = next < 128 ? Character.digit(next, 16) : -1;
            if (digit < 0) {
                throw wrong("expected four hexadecimal digits");
            }
            code = code * 16 + digit;
            at++;
        }
        return (char) code;
    }

    private BigDecimal number() throws JsonException {
        var start = at;
        take('-');
        if (!take('0')) {
            digits("expected a value");
        }
        if (take('.')) {
            digits("expected a digit");
        }
        if (take('e') || take('E')) {
            if (!take('+')) {
                take('-');
            }
            digits("expected a digit");
        }
        try {
            return new BigDecimal(text.substring(start, at));
        } catch (NumberFormatException tooLarge) {
            at = start;
            throw wrong("the exponent is too large");
        }
    }

    private void digits(String otherwise) throws JsonException {
        var start = at;
        while (peek() >= '0' && peek() <= '9') {
            at++;
        }
        if (at == start) {
            throw wrong(otherwise);
        }
    }

    private Object word(String word, Object value) throws JsonException {
        if (!text.startsWith(word, at)) {
            throw wrong("expected a value");
        }
        at += word.length();
        return value;
    }

    private void skipBlanks() {
        while (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r') {
            at++;
        }
    }

    private char peek() {
        return at < text.length() ? text.charAt(at) : END;
    }

    private boolean take(char wanted) {
        if (at < text.length() && text.charAt(at) == wanted) {
            at++;
            return true;
        }
        return false;
    }

    private void need(char wanted) throws JsonException {
        if (!take(wanted)) {
            throw wrong("expected '" + wanted + "'");
        }
    }

    private JsonException wrong(String what) {
        var before = text.substring(0, at);
        var line = 1 + (int) before.chars().filter(c -> c == '\n').count();
        var column = at - before.lastIndexOf('\n');
        return new JsonException(line, column, what);
    }
}
