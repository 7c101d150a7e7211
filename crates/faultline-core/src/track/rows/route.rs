//! A route by its id: what was reported, and on which lines it holds.

use faultline_model::record::RouteObserved;

use crate::track::codec::{Reader, Row, Writer};

/// What a route is, without the scan that reported it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::track) struct RouteRow {
    pub tool: String,
    pub method: String,
    pub path: String,
    pub file: String,
    pub symbol: String,
    pub line: i32,
    pub parameters: Vec<String>,
    pub is_visit: bool,
    /// The lines of scans on which it holds, each with the families that its visit counts for.
    pub holds: Vec<(u32, Vec<String>)>,
    /// How many scans and floors name it; without any it goes.
    pub named: u32,
    /// Which services it is published for.
    pub services: u32,
    /// Digest of what is published; 0 for nothing.
    pub digest: u64,
}

impl RouteRow {
    pub fn of(tool: &str, route: RouteObserved) -> Self {
        Self {
            tool: tool.to_owned(),
            method: route.method,
            path: route.path,
            file: route.file,
            symbol: route.symbol,
            line: route.line,
            parameters: route.parameters,
            is_visit: route.is_visit,
            ..Self::default()
        }
    }
}

impl Row for RouteRow {
    const TABLE: &'static str = "routes";

    fn write(&self, out: &mut Writer) {
        for text in [&self.tool, &self.method, &self.path, &self.file, &self.symbol] {
            out.text(text);
        }
        out.int(self.line.into());
        out.texts(&self.parameters);
        out.flag(self.is_visit);
        out.list(&self.holds, |out, (line, families)| {
            out.uint((*line).into());
            out.texts(families);
        });
        out.uint(self.named.into());
        out.uint(self.services.into());
        out.hash(self.digest);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            tool: from.text()?,
            method: from.text()?,
            path: from.text()?,
            file: from.text()?,
            symbol: from.text()?,
            line: from.int32()?,
            parameters: from.texts()?,
            is_visit: from.flag()?,
            holds: from.list(|from| Some((from.small()?, from.texts()?)))?,
            named: from.small()?,
            services: from.small()?,
            digest: from.hash()?,
        })
    }
}

/// That a scan, a line or a floor has a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::track) struct HasRoute {
    pub is_visit: bool,
    /// For a visit that holds: the families that it counts for.
    pub families: Vec<String>,
}

impl Row for HasRoute {
    const TABLE: &'static str = "routes of scans";

    fn write(&self, out: &mut Writer) {
        out.flag(self.is_visit);
        out.texts(&self.families);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self { is_visit: from.flag()?, families: from.texts()? })
    }
}
