package acme.pages;

import java.util.List;
import java.util.regex.Pattern;

/**
 * Turns the part of Markdown that these pages use into HTML: headings, paragraphs, lists, fenced
 * code, and within a line code, strong, emphasis and links. HTML in the text is shown, not obeyed.
 */
final class Markdown {
    private static final Pattern HEADING = Pattern.compile("(#{1,6}) +(.+)");
    private static final Pattern CODE = Pattern.compile("`([^`]+)`");
    private static final Pattern LINK = Pattern.compile("\\[([^\\]]+)\\]\\(([^)\\s]+)\\)");
    private static final Pattern STRONG = Pattern.compile("\\*\\*(.+?)\\*\\*");
    private static final Pattern EMPHASIS = Pattern.compile("\\*(.+?)\\*");

    /** What the line before belongs to, with the tag that encloses it. */
    private enum Block {
        NONE(""), PARAGRAPH("p"), LIST("ul"), CODE("pre");

        private final String tag;

        Block(String tag) {
            this.tag = tag;
        }
    }

    private final StringBuilder html = new StringBuilder();
    private Block block = Block.NONE;

    private Markdown() {}

    /** The text of the first heading, or {@code otherwise}. */
    static String title(List<String> lines, String otherwise) {
        for (var line : lines) {
            var heading = HEADING.matcher(line);
            if (heading.matches()) {
                return escape(heading.group(2));
            }
        }
        return otherwise;
    }

    /** The HTML of {@code lines}, one block a line. */
    static String html(List<String> lines) {
        var markdown = new Markdown();
        for (var line : lines) {
            markdown.line(line);
        }
        markdown.enter(Block.NONE);
        return markdown.html.toString();
    }

    private void line(String line) {
        var fence = line.startsWith("```");
        if (fence || block == Block.CODE) {
            code(line, fence);
            return;
        }
        var heading = HEADING.matcher(line);
        if (line.isBlank()) {
            enter(Block.NONE);
        } else if (heading.matches()) {
            enter(Block.NONE);
            var tag = "h" + heading.group(1).length();
            html.append('<').append(tag).append('>').append(inline(heading.group(2)));
            html.append("</").append(tag).append(">\n");
        } else if (line.startsWith("- ")) {
            enter(Block.LIST);
            html.append("<li>").append(inline(line.substring(2))).append("</li>\n");
        } else {
            enter(Block.PARAGRAPH);
            html.append(inline(line)).append('\n');
        }
    }

    private void code(String line, boolean fence) {
        if (!fence) {
            html.append(escape(line)).append('\n');
        } else {
            enter(block == Block.CODE ? Block.NONE : Block.CODE);
        }
    }

    private void enter(Block next) {
        if (next == block) {
            return;
        }
        if (block != Block.NONE) {
            html.append("</").append(block.tag).append(">\n");
        }
        if (next != Block.NONE) {
            html.append('<').append(next.tag).append(">\n");
        }
        block = next;
    }

    /** Marks up one line; what stands in code is left alone. */
    private static String inline(String line) {
        var html = new StringBuilder();
        var code = CODE.matcher(line);
        var end = 0;
        while (code.find()) {
            html.append(marked(line.substring(end, code.start())));
            html.append("<code>").append(escape(code.group(1))).append("</code>");
            end = code.end();
        }
        return html.append(marked(line.substring(end))).toString();
    }

    private static String marked(String text) {
        var html = LINK.matcher(escape(text)).replaceAll("<a href=\"$2\">$1</a>");
        html = STRONG.matcher(html).replaceAll("<strong>$1</strong>");
        return EMPHASIS.matcher(html).replaceAll("<em>$1</em>");
    }

    private static String escape(String text) {
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\"", "&quot;");
    }
}
