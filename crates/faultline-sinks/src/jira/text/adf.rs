//! A tree in the Atlassian Document Format: descriptions and comments of API v3.
//!
//! Source: the schema of ADF, `version` 1. A text node must not be empty, a cell and a quote hold paragraphs.

use serde_json::{Value, json};

use super::{Block, Inline, Line, Plain, Tree};

impl Tree {
    /// As API v3 takes it.
    pub fn adf(&self) -> Value {
        json!({ "type": "doc", "version": 1, "content": self.blocks.iter().map(block).collect::<Vec<_>>() })
    }
}

fn block(block: &Block) -> Value {
    match block {
        Block::Heading(words) => json!({ "type": "heading", "attrs": { "level": 3 }, "content": [text(words)] }),
        Block::Paragraph(line) => paragraph(line),
        Block::Quote(lines) => {
            let paragraphs: Vec<Value> = lines.iter().map(|line| node("paragraph", vec![text(line.as_str())])).collect();
            node("blockquote", paragraphs)
        }
        Block::Table { columns, rows } => {
            let head = columns.iter().map(|name| node("tableHeader", vec![node("paragraph", vec![text(name)])])).collect();
            let row = |cells: &Vec<Line>| node("tableRow", cells.iter().map(|cell| node("tableCell", vec![paragraph(cell)])).collect());
            node("table", std::iter::once(node("tableRow", head)).chain(rows.iter().map(row)).collect())
        }
        Block::Rule => json!({ "type": "rule" }),
    }
}

fn paragraph(line: &Line) -> Value {
    node("paragraph", line.iter().map(inline).collect())
}

fn inline(inline: &Inline) -> Value {
    match inline {
        Inline::Text(plain) => text(Plain::as_str(plain)),
        Inline::Strong(words) => json!({ "type": "text", "text": words, "marks": [{ "type": "strong" }] }),
        Inline::Link(address) => {
            json!({ "type": "text", "text": address.words(), "marks": [{ "type": "link", "attrs": { "href": address.to() } }] })
        }
    }
}

fn node(kind: &str, content: Vec<Value>) -> Value {
    json!({ "type": kind, "content": content })
}

fn text(words: &str) -> Value {
    json!({ "type": "text", "text": words })
}
