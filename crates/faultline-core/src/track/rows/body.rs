//! What was observed, by content: all but the texts of its rule, which it names by their hash.
//!
//! The bytes are hashed for every observation of every rescan: fields one after the other, each as it is.

use faultline_model::locus::{Code, Host, Locus, Package, Resource, Route, Secret};
use faultline_model::observation::{Cvss, Observation, ScanKind, Severity, ToolVerdict};

use super::line::{read_kind, write_kind};
use crate::track::codec::{Reader, Row, Writer};

/// An observation, its texts apart, with what its scan says beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::track) struct Body {
    pub kind: ScanKind,
    pub service_claim: String,
    /// Who its texts are; 0 where it has none.
    pub texts: u64,
    pub observation: Observation,
}

/// Writes a body's fields without owning them.
pub(in crate::track) fn write_body(out: &mut Writer, kind: ScanKind, service_claim: &str, texts: u64, seen: &Observation) {
    write_kind(out, kind);
    out.text(service_claim);
    out.hash(texts);
    out.text(&seen.rule);
    out.text(&seen.title);
    out.byte(seen.severity as u8);
    out.list(&seen.cwes, |out, cwe| out.int((*cwe).into()));
    out.texts(&seen.vulnerabilities);
    out.list(&seen.cvss, |out, cvss| {
        out.text(&cvss.version);
        out.text(&cvss.vector);
        out.int(cvss.base_tenths.into());
    });
    write_locus(out, &seen.locus);
    out.texts(&seen.fixed_versions);
    out.option(seen.stable_id.as_ref(), |out, id| out.text(id));
    out.int(seen.rank.into());
    out.flag(seen.tool_verdict == ToolVerdict::Suppressed);
}

fn write_locus(out: &mut Writer, locus: &Locus) {
    match locus {
        Locus::Code(code) => {
            out.byte(0);
            out.text(&code.file);
            for number in [code.line, code.end_line, code.column] {
                out.int(number.into());
            }
            for text in [&code.symbol, &code.snippet, &code.parameter] {
                out.text(text);
            }
        }
        Locus::Package(package) => {
            out.byte(1);
            for text in [&package.purl, &package.version, &package.manifest, &package.layer] {
                out.text(text);
            }
        }
        Locus::Route(route) => {
            out.byte(2);
            for text in [&route.method, &route.origin, &route.path, &route.parameter] {
                out.text(text);
            }
        }
        Locus::Resource(resource) => {
            out.byte(3);
            out.text(&resource.address);
            out.text(&resource.file);
            out.int(resource.line.into());
            out.int(resource.end_line.into());
        }
        Locus::Secret(secret) => {
            out.byte(4);
            for text in [&secret.hash, &secret.preview, &secret.file, &secret.commit] {
                out.text(text);
            }
            out.int(secret.line.into());
        }
        Locus::Host(host) => {
            out.byte(5);
            out.text(&host.address);
            out.int(host.port.into());
            out.text(&host.protocol);
        }
    }
}

fn read_locus(from: &mut Reader<'_>) -> Option<Locus> {
    Some(match from.byte()? {
        0 => Locus::Code(Code {
            file: from.text()?,
            line: from.int32()?,
            end_line: from.int32()?,
            column: from.int32()?,
            symbol: from.text()?,
            snippet: from.text()?,
            parameter: from.text()?,
        }),
        1 => Locus::Package(Package { purl: from.text()?, version: from.text()?, manifest: from.text()?, layer: from.text()? }),
        2 => Locus::Route(Route { method: from.text()?, origin: from.text()?, path: from.text()?, parameter: from.text()? }),
        3 => Locus::Resource(Resource { address: from.text()?, file: from.text()?, line: from.int32()?, end_line: from.int32()? }),
        4 => Locus::Secret(Secret {
            hash: from.text()?,
            preview: from.text()?,
            file: from.text()?,
            commit: from.text()?,
            line: from.int32()?,
        }),
        5 => Locus::Host(Host { address: from.text()?, port: from.int32()?, protocol: from.text()? }),
        _ => return None,
    })
}

impl Row for Body {
    const TABLE: &'static str = "bodies";

    fn write(&self, out: &mut Writer) {
        write_body(out, self.kind, &self.service_claim, self.texts, &self.observation);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (kind, service_claim, texts) = (read_kind(from)?, from.text()?, from.hash()?);
        let observation = Observation {
            rule: from.text()?,
            title: from.text()?,
            description: String::new(),
            guidance: String::new(),
            severity: Severity::ALL.get(usize::from(from.byte()?)).copied()?,
            cwes: from.list(Reader::int32)?,
            vulnerabilities: from.texts()?,
            cvss: from.list(|from| Some(Cvss { version: from.text()?, vector: from.text()?, base_tenths: from.int32()? }))?,
            locus: read_locus(from)?,
            fixed_versions: from.texts()?,
            references: Vec::new(),
            stable_id: from.option(Reader::text)?,
            rank: from.int32()?,
            tool_verdict: if from.flag()? { ToolVerdict::Suppressed } else { ToolVerdict::Reported },
        };
        Some(Self { kind, service_claim, texts, observation })
    }
}

/// First and last line of code where an observation is; zeros where it names none.
pub(in crate::track) fn lines_of(locus: &Locus) -> (i32, i32) {
    match locus {
        Locus::Code(code) => (code.line, code.end_line),
        Locus::Resource(resource) => (resource.line, resource.end_line),
        Locus::Secret(secret) => (secret.line, secret.line),
        Locus::Package(_) | Locus::Route(_) | Locus::Host(_) => (0, 0),
    }
}

/// The path by which scopes, place rules and code owners know an observation; empty where it is of the asset as a whole.
pub(in crate::track) fn path_of(locus: &Locus) -> &str {
    match locus {
        Locus::Code(code) => &code.file,
        Locus::Package(package) => &package.manifest,
        Locus::Route(route) => &route.path,
        Locus::Resource(resource) => &resource.file,
        Locus::Secret(secret) => &secret.file,
        Locus::Host(_) => "",
    }
}
