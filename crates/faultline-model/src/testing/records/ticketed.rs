//! Records of `tickets.desired`.

use proptest::collection::vec;
use proptest::prelude::*;

use super::excepted::{bands, share_risks};
use super::{id_lists, ids, lists, numbers, texts, timestamps};
use crate::ticket::{MovedTicket, TicketRecord, WantedTicket};

/// Values of `tickets.desired`.
pub fn tickets() -> impl Strategy<Value = TicketRecord> {
    let what = (texts(), texts(), texts(), lists(), lists(), id_lists());
    let stands = (numbers(), bands(), timestamps(), numbers(), numbers(), timestamps(), vec(share_risks(), 0..3));
    let wanted = (ids(), texts(), what, stands).prop_map(|(fix, queue, what, stands)| {
        let (kind, what, guidance, fixed_versions, moved_from, also) = what;
        let (score, band, due, risks, services, first_seen, first) = stands;
        TicketRecord::Wanted(WantedTicket {
            fix,
            queue,
            moved_from,
            also,
            kind,
            what,
            guidance,
            fixed_versions,
            score,
            band,
            due,
            risks,
            services,
            first_seen,
            first,
        })
    });
    let moved = (ids(), texts()).prop_map(|(fix, to)| TicketRecord::Moved(MovedTicket { fix, to }));
    prop_oneof![3 => wanted, 1 => moved]
}
