//! A tree in wiki markup: descriptions and comments of API v2.
//!
//! Source: the text formatting notation of Jira, and the order in which its renderer works: macros, blocks, links and bare addresses come before
//! backslashes, HTML before dashes, faces and phrases. A backslash protects `- # * _ + ? ^ ~ | % { } [ ] ( ) ! @` and nothing else, and not after another
//! one. A backslash itself, a colon, and a bar in a cell can only be written as entities, which the renderer leaves alone.

use super::{Block, Inline, Line, Tree};

/// What a backslash protects.
const PROTECTED: &str = "-#*_+?^~%{}[]()!@";

/// What begins a line that is not a paragraph, and its dot.
const LINE_STARTS: [&str; 7] = ["h1.", "h2.", "h3.", "h4.", "h5.", "h6.", "bq."];

impl Tree {
    /// As API v2 takes it.
    pub fn wiki(&self) -> String {
        let mut wiki = String::new();
        for block in &self.blocks {
            if !wiki.is_empty() {
                wiki.push_str("\n\n");
            }
            write(block, &mut wiki);
        }
        wiki
    }
}

fn write(block: &Block, wiki: &mut String) {
    match block {
        Block::Heading(words) => {
            wiki.push_str("h3. ");
            escape(words, wiki);
        }
        Block::Paragraph(line) => write_line(line, wiki),
        Block::Quote(lines) => {
            wiki.push_str("{quote}\n");
            for line in lines {
                escape(line.as_str(), wiki);
                wiki.push('\n');
            }
            wiki.push_str("{quote}");
        }
        Block::Table { columns, rows } => {
            for name in *columns {
                wiki.push_str("||");
                escape(name, wiki);
            }
            wiki.push_str("||");
            for row in rows {
                wiki.push('\n');
                for cell in row {
                    // A blank: two bars would begin a head.
                    wiki.push_str("| ");
                    write_line(cell, wiki);
                    wiki.push(' ');
                }
                wiki.push('|');
            }
        }
        Block::Rule => wiki.push_str("----"),
    }
}

fn write_line(line: &Line, wiki: &mut String) {
    for inline in line {
        match inline {
            Inline::Text(plain) => escape(plain.as_str(), wiki),
            Inline::Strong(words) => {
                wiki.push('*');
                escape(words, wiki);
                wiki.push('*');
            }
            // Neither has anything to be escaped but the dash of a key, which a link's words may have.
            Inline::Link(address) => wiki.push_str(&format!("[{}|{}]", address.words(), address.to())),
        }
    }
}

/// Writes a text of one line so that it means itself.
fn escape(text: &str, wiki: &mut String) {
    let mut rest = text;
    // As the renderer reads it, whatever the case: it must not begin a line.
    let start = text.trim_start();
    if let Some(dot) = LINE_STARTS.iter().find(|word| start.get(..3).is_some_and(|first| first.eq_ignore_ascii_case(word))).map(|_| 2) {
        let (before, after) = start.split_at(dot);
        wiki.push_str(&text[..text.len() - start.len()]);
        wiki.push_str(before);
        wiki.push_str("&#46;");
        rest = &after[1..];
    }
    let mut letters = rest.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => wiki.push_str("&#92;"),
            '|' => wiki.push_str("&#124;"),
            '&' => wiki.push_str("&amp;"),
            '<' => wiki.push_str("&lt;"),
            '>' => wiki.push_str("&gt;"),
            // Begins an address, or a face.
            ':' if letters.peek() != Some(&' ') => wiki.push_str("&#58;"),
            letter => {
                if PROTECTED.contains(letter) {
                    wiki.push('\\');
                }
                wiki.push(letter);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut wiki = String::new();
        escape(text, &mut wiki);
        wiki
    }

    #[test]
    fn markup_means_itself() {
        for (text, wiki) in [
            ("{code}[x|y]", "\\{code\\}\\[x&#124;y\\]"),
            ("*a* _b_ -c- +d+ ^e^ ~f~ ??g??", "\\*a\\* \\_b\\_ \\-c\\- \\+d\\+ \\^e\\^ \\~f\\~ \\?\\?g\\?\\?"),
            ("!http://evil.example/x.png!", "\\!http&#58;//evil.example/x.png\\!"),
            ("[~admin] @all", "\\[\\~admin\\] \\@all"),
            ("mailto:a@b.example", "mailto&#58;a\\@b.example"),
            (":) ;) (x) :D", "&#58;\\) ;\\) \\(x\\) &#58;D"),
            ("C:\\temp\\\\x", "C&#58;&#92;temp&#92;&#92;x"),
            ("<script>&amp;&#33;", "&lt;script&gt;&amp;amp;&amp;\\#33;"),
            ("h1. Big", "h1&#46; Big"),
            ("H6.Big", "H6&#46;Big"),
            ("bq. said", "bq&#46; said"),
            ("h7. x bq. y", "h7. x bq. y"),
            ("# one", "\\# one"),
            ("---- x", "\\-\\-\\-\\- x"),
            ("CVE-2021-44228: log4j", "CVE\\-2021\\-44228: log4j"),
            ("hä. x", "hä. x"),
        ] {
            assert_eq!(escaped(text), wiki, "{text}");
        }
    }
}
