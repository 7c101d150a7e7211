//! The organisation: its records as they are, and which services stand below which node.

use faultline_model::avro;
use faultline_model::catalog::{CatalogRecord, Service, service_key};
use rusqlite::OptionalExtension;

use super::{Fault, Work, decoded};
use crate::words::Word;

impl Work<'_> {
    pub(super) fn catalog(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), Fault> {
        let record = value.map(decoded::<CatalogRecord>).transpose()?;
        let mut statement = self.connection.prepare_cached("SELECT body FROM catalog WHERE key = ?")?;
        let before: Option<Vec<u8>> = statement.query_row([key], |row| row.get(0)).optional()?;
        drop(statement);
        if let Some(Ok(CatalogRecord::Service(before))) = before.map(|body| avro::decode(&body)) {
            self.set_nodes(&before, "DELETE FROM service_of_node WHERE node = ? AND service = ?")?;
        }
        let (Some(record), Some(value)) = (record, value) else {
            self.connection.prepare_cached("DELETE FROM catalog WHERE key = ?")?.execute([key])?;
            return Ok(());
        };
        if let CatalogRecord::Service(service) = &record {
            self.set_nodes(service, "INSERT OR IGNORE INTO service_of_node (node, service) VALUES (?, ?)")?;
        }
        let mut statement = self.connection.prepare_cached("INSERT OR REPLACE INTO catalog (key, kind, body) VALUES (?, ?, ?)")?;
        statement.execute((key, kind_of(&record), value))?;
        Ok(())
    }

    /// For each name that a service stands below: the nodes above it, and its own, by which a reader may see it alone.
    fn set_nodes(&mut self, service: &Service, sql: &str) -> Result<(), Fault> {
        let number = self.words.number(self.connection, Word::Service, &service.id)?;
        let mut statement = self.connection.prepare_cached(sql)?;
        let own = service_key(&service.id);
        for name in service.path.iter().chain([&own]) {
            statement.execute((name, number))?;
        }
        Ok(())
    }
}

fn kind_of(record: &CatalogRecord) -> &'static str {
    match record {
        CatalogRecord::Node(_) => "node",
        CatalogRecord::Service(_) => "service",
        CatalogRecord::Places(_) => "places",
        CatalogRecord::Policy(_) => "policy",
        CatalogRecord::Head(_) => "head",
    }
}
