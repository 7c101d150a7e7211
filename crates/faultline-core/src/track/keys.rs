//! Where rows lie: a byte for the table, then the asset, then what the table tells apart.
//!
//! Every key holds its asset at a place that the table's byte tells, so that a row's partition can be found from its key and the
//! asset's row alone.

use faultline_model::id::Id;
use faultline_model::time::Timestamp;

use super::codec;
use super::rows::asset::AssetRow;
use crate::stage::Home;
use crate::store::{Store, StoreError};

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Table {
    /// The asset itself.
    Asset = 1,
    /// The records of the catalog's places that hold for it, as they were when it last looked.
    Places = 2,
    /// Lines of scans by their number.
    Line = 3,
    /// The number of a line by its id.
    LineOf = 4,
    /// The line and number of a scan by its id.
    ScanOf = 5,
    /// What scans say of themselves at length, once for all that say the same.
    Said = 6,
    /// How far a scan has come.
    Progress = 7,
    /// Findings by id: the one look-up of a rescan.
    Finding = 8,
    /// Findings by ordinal: where they were, from which scan on.
    Detail = 9,
    /// What was observed, by ordinal and content.
    Body = 10,
    /// Decisions by ordinal.
    Decided = 11,
    /// What a batch of an open scan saw.
    Seen = 12,
    /// What a scan saw, by block.
    Marks = 13,
    /// What is known of a block before the oldest scan that is kept.
    Floor = 14,
    /// Which findings are known on a line, and which of them are closed there, by block.
    Known = 15,
    /// Findings with the same rule and snippet.
    Alike = 16,
    /// Findings that moved from one, by both ordinals.
    Moved = 17,
    /// Sets of services that findings go to.
    Services = 18,
    /// Idempotency keys with what became of them.
    Asked = 19,
    /// Work that is left.
    Pending = 20,
    /// Records that say that a fact went elsewhere and will go themselves.
    Went = 21,
    /// Routes by their number.
    Route = 22,
    /// Which routes a batch of a scan reported.
    ScanRoutes = 23,
    /// Which routes hold on a line.
    LineRoutes = 24,
    /// Which routes hold before the oldest scan that is kept.
    FloorRoutes = 25,
    /// Which assets looked at a key of the catalog: the key's hash stands before the asset.
    LookedAt = 26,
    /// What is due when: the time stands before the asset.
    Timer = 27,
    /// The number of a route by its id.
    RouteOf = 28,
    /// Which routes scans of a line that are kept, or its floor, name.
    KnownRoutes = 29,
    /// The next number of what is numbered in the asset.
    Counters = 30,
    /// Scans that are kept, by line and number.
    Scan = 31,
    /// Which services a line is published for.
    LinePublished = 32,
    /// What bodies say at length, by content.
    Texts = 33,
    /// How many bodies name them.
    TextsNamed = 34,
}

/// The key of a row of an asset.
pub(super) fn key(table: Table, asset: Id, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = begun(table, asset, parts.iter().map(|part| part.len()).sum());
    for part in parts {
        key.extend(*part);
    }
    key
}

/// The beginning of a key, with room for what comes.
fn begun(table: Table, asset: Id, room: usize) -> Vec<u8> {
    let mut key = Vec::with_capacity(17 + room);
    key.push(table as u8);
    key.extend(asset.0);
    key
}

/// The key of a row that is told apart by numbers.
pub(super) fn numbered(table: Table, asset: Id, numbers: &[u32]) -> Vec<u8> {
    let mut key = begun(table, asset, size_of_val(numbers));
    for number in numbers {
        key.extend(number.to_be_bytes());
    }
    key
}

/// How many bytes of a key say which rows are read together; `None` where they are read one by one, or a whole asset at once.
pub(crate) fn group_of(key: &[u8]) -> Option<usize> {
    const BY_NUMBER: [Table; 5] = [Table::Body, Table::Seen, Table::Moved, Table::ScanRoutes, Table::Scan];
    let table = *key.first()?;
    let len = if table == Table::Alike as u8 {
        25
    } else if BY_NUMBER.iter().any(|by| *by as u8 == table) {
        21
    } else {
        return None;
    };
    (key.len() >= len).then_some(len)
}

/// Where a row belongs: with its asset, whose own row has the name.
pub(crate) fn home_of(state: &dyn Store, at: &[u8]) -> Result<Home, StoreError> {
    let corrupt = |reason: &str| StoreError::corrupt("track", at, reason);
    let asset_at = match *at.first().ok_or_else(|| corrupt("an empty key"))? {
        table if table == Table::Pending as u8 => return Ok(Home::Unfinished),
        table if table == Table::LookedAt as u8 => 17,
        table if table == Table::Timer as u8 => 9,
        table if (Table::Asset as u8..=Table::TextsNamed as u8).contains(&table) => 1,
        _ => return Err(corrupt("no table of this program")),
    };
    if at.len() < asset_at + 16 {
        return Err(corrupt("a key without its asset"));
    }
    let asset: Option<AssetRow> = codec::get(state, &key(Table::Asset, id_at(at, asset_at), &[]))?;
    let asset = asset.ok_or_else(|| corrupt("a row of an asset without the asset's own row"))?;
    Ok(Home::With(asset.name))
}

/// The number that stands so many bytes behind table and asset; 0 where none does.
pub(super) fn number_at(key: &[u8], at: usize) -> u32 {
    let bytes = key.get(17 + at..21 + at).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_be_bytes)
}

/// The id that stands so many bytes behind the beginning; zeros where none does.
pub(super) fn id_at(key: &[u8], at: usize) -> Id {
    Id(key.get(at..at + 16).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default())
}

/// The key of the note that an asset looked at a key of the catalog.
pub(super) fn looked_at(catalog_key: &str, asset: Option<Id>) -> Vec<u8> {
    let mut key = key(Table::LookedAt, Id::of("catalog-key", &[catalog_key.as_bytes()]), &[]);
    key.extend(asset.iter().flat_map(|asset| asset.0));
    key
}

/// The beginning of a timer's key. Times before 1970 sort before those after.
pub(super) fn timer(due: Timestamp) -> Vec<u8> {
    let mut key = vec![Table::Timer as u8];
    key.extend(((due.millis() as u64) ^ (1 << 63)).to_be_bytes());
    key
}

/// When a timer is due, by its key.
pub(super) fn due_of(key: &[u8]) -> Option<Timestamp> {
    let bytes = key.get(1..9)?.try_into().ok()?;
    Some(Timestamp::from_millis((u64::from_be_bytes(bytes) ^ (1 << 63)) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Changes, MemoryStore};
    use crate::track::codec::Row;

    #[test]
    fn every_table_says_where_a_row_belongs() {
        let (name, id) = ("repo:github.com/acme/shop", Id::of("x", &[b"1"]));
        let row = AssetRow { name: name.to_owned(), ..AssetRow::default() };
        let mut state = MemoryStore::default();
        state.apply(Changes::from([(key(Table::Asset, id, &[]), Some(row.bytes()))]));
        for table in 0..=u8::MAX {
            let before = match table {
                26 => 16,
                27 => 8,
                _ => 0,
            };
            let at = |id: Id| [&[table], &[0; 16][..before], &id.0, b"rest"].concat();
            let expected = match table {
                20 => Some(Home::Unfinished),
                1..=34 => Some(Home::With(name.to_owned())),
                _ => None,
            };
            assert_eq!(home_of(&state, &at(id)).ok(), expected, "table {table}");
            assert!(table == 20 || home_of(&state, &at(Id::of("x", &[b"2"]))).is_err(), "table {table} of an asset that is not here");
        }
        assert!(home_of(&state, &[]).is_err() && home_of(&state, &[1, 0]).is_err());
    }
}
