//! The organisation: its records as they are, and which services stand below which node.

use faultline_model::avro;
use faultline_model::catalog::{CatalogRecord, Node, Service, service_key};
use rusqlite::OptionalExtension;

use super::{Fault, Work, decoded};
use crate::words::Word;

impl Work<'_> {
    pub(super) fn catalog(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), Fault> {
        let record = value.map(decoded::<CatalogRecord>).transpose()?;
        let mut statement = self.connection.prepare_cached("SELECT body FROM catalog WHERE key = ?")?;
        let before: Option<Vec<u8>> = statement.query_row([key], |row| row.get(0)).optional()?;
        drop(statement);
        match before.map(|body| avro::decode(&body)) {
            Some(Ok(CatalogRecord::Service(before))) => {
                self.set_nodes(&before, "DELETE FROM service_of_node WHERE node = ? AND service = ?")?;
            }
            Some(Ok(CatalogRecord::Node(before))) => {
                self.connection.prepare_cached("DELETE FROM node_parent WHERE node = ?")?.execute([before.id])?;
            }
            _ => {}
        }
        let (Some(record), Some(value)) = (record, value) else {
            self.connection.prepare_cached("DELETE FROM catalog WHERE key = ?")?.execute([key])?;
            return Ok(());
        };
        match &record {
            CatalogRecord::Service(service) => {
                self.set_nodes(service, "INSERT OR IGNORE INTO service_of_node (node, service) VALUES (?, ?)")?;
            }
            CatalogRecord::Node(node) => self.set_parent(node)?,
            CatalogRecord::Places(_) | CatalogRecord::Policy(_) | CatalogRecord::Head(_) => {}
        }
        let mut statement = self.connection.prepare_cached("INSERT OR REPLACE INTO catalog (key, kind, body) VALUES (?, ?, ?)")?;
        statement.execute((key, kind_of(&record), value))?;
        Ok(())
    }

    fn set_parent(&self, node: &Node) -> Result<(), Fault> {
        let parent = Some(&node.parent).filter(|parent| !parent.is_empty());
        let mut statement = self.connection.prepare_cached("INSERT OR REPLACE INTO node_parent (node, parent) VALUES (?, ?)")?;
        statement.execute((&node.id, parent))?;
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
