//! The public contract: what we write is what the schema says, judged by another implementation of Avro.
#![allow(clippy::unwrap_used)]

use std::fmt::Debug;

use faultline_model::avro::{AvroError, Subject, TopicValue, decode, encode, schema_id};
use faultline_model::record::FindingsRecord;
use faultline_model::testing::records;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

/// Runs a promise over records of every topic.
macro_rules! for_every_topic {
    ($promise:ident) => {
        $promise(records::findings_records());
        $promise(records::tracked_records());
        $promise(records::catalog_records());
        $promise(records::intel_records());
        $promise(records::decisions());
        $promise(records::risks());
        $promise(records::outcomes());
        $promise(records::steps());
        $promise(records::held());
        $promise(records::shares());
        $promise(records::register_entries());
        $promise(records::tickets());
        $promise(records::notices());
        $promise(records::deliveries());
        $promise(records::dead_letters());
    };
}

fn holds<S: Strategy>(strategy: S, promise: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    TestRunner::default().run(&strategy, promise).unwrap();
}

/// The schema that a value was written with.
fn judge(subject: &Subject, value: &[u8]) -> apache_avro::Schema {
    let id = schema_id(value).unwrap();
    let version = subject.versions().find(|version| version.id == id).unwrap();
    apache_avro::Schema::parse_str(version.text).unwrap()
}

#[test]
fn what_is_written_is_read_again() {
    fn promise<T: TopicValue + Debug + PartialEq>(strategy: impl Strategy<Value = T>) {
        holds(strategy, |record| {
            let bytes = encode(record.clone()).unwrap();
            let version = T::subject().versions().nth(record.version() - 1).unwrap();
            prop_assert_eq!(schema_id(&bytes).unwrap(), version.id);
            prop_assert_eq!(decode::<T>(&bytes).unwrap(), record);
            Ok(())
        });
    }
    for_every_topic!(promise);
}

#[test]
fn another_implementation_of_avro_reads_the_same_and_writes_the_same_bytes() {
    fn promise<T: TopicValue + Debug>(strategy: impl Strategy<Value = T>) {
        holds(strategy, |record| {
            let bytes = encode(record).unwrap();
            let schema = judge(T::subject(), &bytes);
            let mut body = &bytes[5..];
            let value = apache_avro::from_avro_datum(&schema, &mut body, None).unwrap();
            prop_assert!(body.is_empty(), "the body has no rest");
            prop_assert!(value.validate(&schema));
            prop_assert_eq!(&apache_avro::to_avro_datum(&schema, value).unwrap(), &bytes[5..]);
            Ok(())
        });
    }
    for_every_topic!(promise);
}

/// Not only does it write the same bytes: it understands the same record.
#[test]
fn another_implementation_of_avro_gives_the_same_record() {
    fn promise<T: TopicValue + Debug + PartialEq>(strategy: impl Strategy<Value = T>) {
        holds(strategy, |record| {
            let bytes = encode(record.clone()).unwrap();
            let schema = judge(T::subject(), &bytes);
            let value = apache_avro::from_avro_datum(&schema, &mut &bytes[5..], None).unwrap();
            let body: T::Body = apache_avro::from_value(&value).unwrap();
            prop_assert_eq!(T::from_body(body).unwrap(), record);
            Ok(())
        });
    }
    for_every_topic!(promise);
}

#[test]
fn cut_and_lengthened_records_are_refused() {
    fn promise<T: TopicValue + Debug>(strategy: impl Strategy<Value = T>) {
        holds((strategy, any::<prop::sample::Index>(), any::<u8>()), |(record, cut, more)| {
            let mut bytes = encode(record).unwrap();
            prop_assert!(decode::<T>(&bytes[..cut.index(bytes.len())]).is_err());
            bytes.push(more);
            let is_too_long = matches!(decode::<T>(&bytes), Err(AvroError::Rest { bytes: 1 }));
            prop_assert!(is_too_long);
            Ok(())
        });
    }
    for_every_topic!(promise);
}

/// Nor do they take memory that they do not have: a length is never believed before its bytes are there.
#[test]
fn garbled_records_and_any_bytes_are_refused_or_read_and_never_panic() {
    fn promise<T: TopicValue + Debug>(strategy: impl Strategy<Value = T>) {
        let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8);
        let noise = prop::collection::vec(any::<u8>(), 0..64);
        holds((strategy, damage, noise), |(record, damage, noise)| {
            let mut bytes = encode(record).unwrap();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            // What can still be read can be written again.
            if let Ok(record) = decode::<T>(&bytes) {
                prop_assert!(encode(record).is_ok());
            }
            let framed: Vec<u8> = bytes[..5].iter().copied().chain(noise).collect();
            let _ = decode::<T>(&framed);
            Ok(())
        });
    }
    for_every_topic!(promise);
}

#[test]
fn bytes_that_are_no_record_are_refused_with_the_reason() {
    assert!(matches!(decode::<FindingsRecord>(b"{}"), Err(AvroError::NotFramed { len: 2, .. })));
    assert!(matches!(decode::<FindingsRecord>(&[1, 0, 0, 0, 1, 2]), Err(AvroError::NotFramed { first: Some(1), .. })));
    assert!(matches!(decode::<FindingsRecord>(&[0, 0, 0, 0, 9, 1]), Err(AvroError::UnknownSchema { id: 9, .. })));
    // A list that says it has 2^40 entries.
    let boast = [&[0, 0, 0, 0, 1][..], b"\x08went", &[0; 3], &[2, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]].concat();
    assert!(matches!(decode::<FindingsRecord>(&boast), Err(AvroError::Body(_))));
}
