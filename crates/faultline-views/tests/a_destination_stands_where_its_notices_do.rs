//! Where destinations stand follows from notices and deliveries, in whatever order the two topics come.
#![allow(clippy::unwrap_used)] // what fails here fails the test

mod common;

use std::collections::BTreeMap;

use common::{Owned, apply, put};
use faultline_model::id::Id;
use faultline_model::notice::{Delivery, DeliveryStatus, Notice, NoticeKind};
use faultline_model::time::Timestamp;
use faultline_model::topic::{DELIVERIES, NOTICES};
use faultline_views::{Told, Views};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const DESTINATIONS: [&str; 2] = ["chat", "soc"];

fn time(at: i64) -> Timestamp {
    Timestamp::from_millis(at)
}

fn notice(number: u8, to: &[&str]) -> Notice {
    Notice {
        id: Id([number; 16]),
        kind: NoticeKind::RiskVerified,
        at: time(i64::from(number)),
        origin: "shop\u{1f}r".into(),
        title: "t".into(),
        because: "b".into(),
        score: 700,
        within: vec![],
        to: to.iter().map(ToString::to_string).collect(),
    }
}

fn delivery(notice: u8, destination: &str, attempt: i32, status: DeliveryStatus) -> Delivery {
    Delivery {
        notice: Id([notice; 16]),
        destination: destination.into(),
        attempt,
        status,
        reason: if status == DeliveryStatus::Delivered { String::new() } else { format!("{notice}/{attempt}") },
        at: time(1_000 + i64::from(notice) * 100 + i64::from(attempt)),
        again_at: None,
    }
}

fn of_notice(notice: &Notice) -> Owned {
    put(NOTICES, notice.id.to_string(), notice.clone())
}

fn of_delivery(delivery: &Delivery) -> Owned {
    put(DELIVERIES, format!("shop\u{1f}{}/{}", delivery.notice, delivery.destination), delivery.clone())
}

/// What became of each notice at each destination, by plain recollection.
fn expected(notices: &BTreeMap<u8, Vec<&str>>, attempts: &BTreeMap<(u8, &str), Vec<DeliveryStatus>>) -> Vec<Told> {
    let mut all = Vec::new();
    for destination in DESTINATIONS {
        let told = |number: u8| attempts.get(&(number, destination)).map_or(&[][..], Vec::as_slice);
        let numbers: Vec<u8> = notices.iter().filter(|(_, to)| to.contains(&destination)).map(|(number, _)| *number).collect();
        if numbers.is_empty() {
            continue;
        }
        let last = |number: u8| told(number).last().copied();
        let with = |status: Option<DeliveryStatus>| numbers.iter().filter(|number| last(**number) == status).count() as u64;
        let waiting: Vec<u8> =
            numbers.iter().copied().filter(|number| matches!(last(*number), None | Some(DeliveryStatus::Failed))).collect();
        let tried = |is_taken: bool| {
            let tried =
                numbers.iter().filter(move |number| last(**number).is_some_and(|last| (last == DeliveryStatus::Delivered) == is_taken));
            tried
                .map(|number| delivery(*number, destination, told(*number).len() as i32, last(*number).unwrap()))
                .max_by_key(|delivery| delivery.at)
        };
        let (delivered, failed) = (tried(true).map(|delivery| delivery.at), tried(false));
        all.push(Told {
            destination: destination.into(),
            waiting: waiting.len() as u64,
            oldest: waiting.first().map(|number| time(i64::from(*number))),
            delivered: with(Some(DeliveryStatus::Delivered)),
            given_up: with(Some(DeliveryStatus::GivenUp)),
            last_delivered: delivered,
            last_failed: failed.filter(|failed| delivered.is_none_or(|at| at < failed.at)).map(|failed| (failed.at, failed.reason)),
        });
    }
    all
}

proptest! {
    #[test]
    fn where_a_destination_stands_follows_from_what_was_said(
        to in vec(vec(any::<bool>(), 2..=2), 1..6),
        outcomes in vec((0..5_u8, select(&DESTINATIONS[..]), select(vec![DeliveryStatus::Failed, DeliveryStatus::Delivered, DeliveryStatus::GivenUp])), 0..30),
        notices_first: bool,
        is_repeated: bool,
    ) {
        let pick = |to: &Vec<bool>| DESTINATIONS.iter().zip(to).filter(|(_, is_told)| **is_told).map(|(name, _)| *name).collect::<Vec<_>>();
        let notices: BTreeMap<u8, Vec<&str>> = (0..).zip(&to).map(|(number, to)| (number, pick(to))).collect();
        let mut attempts = BTreeMap::<(u8, &str), Vec<DeliveryStatus>>::new();
        let mut deliveries = Vec::new();
        for (number, destination, status) in outcomes {
            let is_told = notices.get(&number).is_some_and(|to| to.contains(&destination));
            let before = attempts.entry((number, destination)).or_default();
            if is_told && before.iter().all(|status| *status == DeliveryStatus::Failed) {
                before.push(status);
                deliveries.push(delivery(number, destination, before.len() as i32, status));
            }
        }
        attempts.retain(|_, all| !all.is_empty());
        let notice_records: Vec<Owned> = notices.iter().map(|(number, to)| of_notice(&notice(*number, to))).collect();
        let mut delivery_records: Vec<Owned> = deliveries.iter().map(of_delivery).collect();
        if is_repeated {
            delivery_records.extend(deliveries.first().map(of_delivery));
        }
        let views = Views::in_memory().unwrap();
        let order = if notices_first { [notice_records, delivery_records] } else { [delivery_records, notice_records] };
        for records in order {
            apply(&views, &records);
        }
        prop_assert_eq!(views.told().unwrap(), expected(&notices, &attempts));
    }
}
