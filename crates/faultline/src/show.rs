//! What people read: lists and explanations as text. Everything that comes from a report is stripped of control characters.

mod explain;
mod table;

pub use explain::{evidence, explain, state};
pub use table::Table;

use faultline_model::locus::Locus;

/// Text from a report as it may stand on a terminal: one line, no control characters.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// A text of at most so many characters.
pub fn short(text: &str, most: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= most {
        return text;
    }
    let mut cut: String = text.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// A count with its noun.
pub fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// An id as it stands in lists: every command takes its first digits.
pub fn short_id(id: &str) -> String {
    id.chars().take(12).collect()
}

/// Millionths as a fraction with two digits: 0.97.
pub fn fraction(ppm: i32) -> String {
    format!("{}.{:02}", ppm / 1_000_000, ppm % 1_000_000 / 10_000)
}

/// A place in one line.
pub fn place(locus: &Locus) -> String {
    let at = |file: &str, line: i32| if line > 0 { format!("{file}:{line}") } else { file.to_owned() };
    let text = match locus {
        Locus::Code(code) if code.symbol.is_empty() => at(&code.file, code.line),
        Locus::Code(code) => format!("{} ({})", at(&code.file, code.line), code.symbol),
        Locus::Package(package) => {
            let name = format!("{} {}", faultline_model::purl::display_name(&package.purl), package.version);
            if package.manifest.is_empty() { name } else { format!("{name} in {}", package.manifest) }
        }
        Locus::Route(route) if route.parameter.is_empty() => format!("{} {}{}", route.method, route.origin, route.path),
        Locus::Route(route) => format!("{} {}{} parameter {}", route.method, route.origin, route.path, route.parameter),
        Locus::Resource(resource) if resource.address.is_empty() => at(&resource.file, resource.line),
        Locus::Resource(resource) if resource.file.is_empty() => resource.address.clone(),
        Locus::Resource(resource) => format!("{} in {}", resource.address, at(&resource.file, resource.line)),
        Locus::Secret(secret) => format!("secret {} in {}", secret.preview, at(&secret.file, secret.line)),
        Locus::Host(host) => format!("{}:{} {}", host.address, host.port, host.protocol),
    };
    clean(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_report_says_cannot_move_the_cursor() {
        assert_eq!(clean("a\u{1b}[2Jb\nc\r"), "a [2Jb c");
        assert_eq!(short("abcdef", 4), "abc…");
        assert_eq!(short("äöü", 3), "äöü");
    }

    #[test]
    fn millionths_read_as_fractions() {
        assert_eq!(fraction(1_000_000), "1.00");
        assert_eq!(fraction(907_500), "0.90");
    }
}
