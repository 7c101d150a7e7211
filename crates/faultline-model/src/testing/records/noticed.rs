//! Records of `notices` and `deliveries`.

use proptest::prelude::*;

use super::{ids, lists, maybe, numbers, texts, timestamps};
use crate::notice::{Delivery, DeliveryStatus, Notice, NoticeKind};

/// Values of `notices`.
pub fn notices() -> impl Strategy<Value = Notice> {
    let what = (ids(), prop::sample::select(NoticeKind::ALL.to_vec()), timestamps(), texts(), texts(), texts());
    (what, numbers(), lists(), lists()).prop_map(|((id, kind, at, origin, title, because), score, within, to)| Notice {
        id,
        kind,
        at,
        origin,
        title,
        because,
        score,
        within,
        to,
    })
}

/// Values of `deliveries`.
pub fn deliveries() -> impl Strategy<Value = Delivery> {
    let status = prop::sample::select(vec![DeliveryStatus::Delivered, DeliveryStatus::Failed, DeliveryStatus::GivenUp]);
    (ids(), texts(), numbers(), status, texts(), timestamps(), maybe(timestamps())).prop_map(
        |(notice, destination, attempt, status, reason, at, again_at)| Delivery {
            notice,
            destination,
            attempt,
            status,
            reason,
            at,
            again_at,
        },
    )
}
