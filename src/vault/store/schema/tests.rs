#![expect(clippy::cast_possible_truncation, reason = "small numbers of tests")]

use super::*;
use crate::domain::{ApprovalId, CollectionNo, HoldId, ReportId, ShredId, TreeId};
use proptest::prelude::*;

#[test]
fn a_table_holds_its_rows_and_no_others() {
    let pages = table(Table::Page);
    let inside = page(TreeId([0xff; 16]), u8::MAX, u64::MAX);
    assert!(pages.from <= inside && inside < pages.to);
    assert!(root_ptr() < pages.from);
    assert!(tree(TenantNo(0)) >= pages.to);
}

#[test]
fn a_prefix_of_0xff_holds_every_longer_key() {
    let range = prefix(&[0xff; 16]);
    assert!(range.from.as_ref() <= [0xff; 16].as_slice());
    assert!([0xff; KEY_LEN_MAX].as_slice() < range.to.as_ref());
    assert!([0xfe; 16].as_slice() < range.from.as_ref());
}

#[test]
fn a_subjects_records_lie_in_the_range_of_their_collection_alone() {
    let (one, two) = ([1; 16], [2; 16]);
    let row = subject_record(TenantNo(7), &one, CollectionNo(3), &[two, one]);
    for range in [records_of_subject(TenantNo(7), &one), records_of_subject_in(TenantNo(7), &one, CollectionNo(3))] {
        assert!(range.from <= row && row < range.to);
    }
    for range in [records_of_subject(TenantNo(7), &two), records_of_subject_in(TenantNo(7), &one, CollectionNo(4))] {
        assert!(row < range.from || row >= range.to);
    }
}

#[test]
fn a_key_reads_back_as_it_was_made() {
    let (subject, first, second) = ([9; 16], [1; 16], [2; 16]);
    let key = subject_record(TenantNo(5), &subject, CollectionNo(6), &[first, second]);
    let mut parts = Parts::of(Table::SubjectRecord, &key).unwrap();
    assert_eq!(parts.tenant(), Some(TenantNo(5)));
    assert_eq!(parts.token(), Some(subject));
    assert_eq!(parts.collection(), Some(CollectionNo(6)));
    assert_eq!(parts.tokens(), Some(vec![first, second]));
    assert!(Parts::of(Table::Unit, &key).is_none());
    let short = &key[..key.len() - 1];
    let mut parts = Parts::of(Table::SubjectRecord, short).unwrap();
    assert!(parts.bytes::<28>().is_some());
    assert_eq!(parts.tokens(), None);
}

#[test]
fn an_hour_holds_what_ends_in_it_and_before_and_nothing_later() {
    let record = [[1; 16], [2; 16]];
    for fineness in Fineness::ALL {
        let (tenant, collection) = (TenantNo(u64::MAX), CollectionNo(u32::MAX));
        let row = due(fineness, 20_000, tenant, collection, &record);
        let of = Due { fineness, hour: 20_000, tenant, collection, record: record.to_vec(), lies: Lies::ByTime };
        assert_eq!(due_parts(&row), Some(of));
        for (hour, holds) in [(0, false), (19_999, false), (20_000, true), (20_001, true), (u32::MAX, true)] {
            let range = due_until(fineness, hour);
            assert_eq!(range.from <= row && row < range.to, holds, "{hour}");
        }
        let (last, other) = (due(fineness, u32::MAX, tenant, collection, &record), due_until(fineness, u32::MAX));
        assert!(last < other.to && other.to <= table(fineness.table()).to);
        assert_eq!(due_parts(&row[..row.len() - 1]), None);
        // From the record to its row.
        let leads = due_of(tenant, collection, &record);
        assert_eq!(due_led_to(&leads, &due_lead(&row)).as_deref(), Some(&row[..]));
        for broken in [&row[..4], &row[..6], &leads[..5], b""] {
            assert_eq!(due_led_to(&leads, broken), None, "{broken:?}");
        }
        assert_eq!(due_led_to(&row, &due_lead(&row)), None);
        let range = due_of_collection(tenant, collection);
        assert!(range.from <= leads && leads < range.to);
    }
    assert_eq!(due_parts(&subject_record(TenantNo(7), &[1; 16], CollectionNo(3), &record)), None);
}

#[test]
fn a_place_of_a_page_holds_its_row_and_a_page_those_of_its_collection() {
    let record = [[1; 16], [2; 16]];
    let page = DuePage { hour: 20_000, tenant: TenantNo(7), collection: CollectionNo(3), page: u32::MAX };
    let (key, row) = (due_page(&page), due_listed(&page, 258, &record));
    assert_eq!((due_page_parts(&key), due_page_parts(&key[..20]), due_page_parts(&[&key[..], &[0]].concat())), (Some(page), None, None));
    let (fineness, lies) = (Fineness::Month, Lies::Listed { page: page.page, place: 258 });
    let (tenant, collection) = (page.tenant, page.collection);
    assert_eq!(due_parts(&row), Some(Due { fineness, hour: page.hour, tenant, collection, record: record.to_vec(), lies }));
    assert_eq!((due_parts(&row[..row.len() - 1]), due_parts(&key)), (None, None));
    let holds = |range: &KeyRange, key: &Bytes| range.from <= *key && *key < range.to;
    for (place, is_there) in [(257, false), (258, true), (259, false)] {
        assert_eq!(holds(&due_listed_at(&page, place), &row), is_there, "{place}");
    }
    for other in [DuePage { tenant: TenantNo(8), ..page }, DuePage { collection: CollectionNo(4), ..page }] {
        assert!(!holds(&due_listed_at(&other, 258), &row) && !holds(&due_pages_of(page.hour, other.tenant, other.collection), &key));
        assert!(holds(&all_due_listed(&other), &row), "of any with its number");
    }
    assert!(holds(&due_pages_of(page.hour, tenant, collection), &key) && holds(&due_pages_of_tenant(page.hour, tenant), &key));
    assert!(holds(&due_pages_in(page.hour), &key) && !holds(&due_pages_in(page.hour + 768), &key));
    assert!(!holds(&due_pages_of_tenant(page.hour, TenantNo(8)), &key));
    // From the record to its row.
    let leads = due_of(tenant, collection, &record);
    assert_eq!(due_led_to(&leads, &due_lead(&row)).as_deref(), Some(&row[..]));
    for broken in [&row[..5], &row[..10], &row[..12], &key[..11]] {
        assert_eq!(due_led_to(&leads, broken), None, "{broken:?}");
    }
}

#[test]
fn what_sleeps_lies_by_its_collection_and_its_record_leads_to_it() {
    let (tenant, collection, record) = (TenantNo(7), CollectionNo(3), [[1; 16], [2; 16]]);
    let row = due_asleep(tenant, collection, &record);
    let of = Due { fineness: Fineness::Hour, hour: 0, tenant, collection, record: record.to_vec(), lies: Lies::Asleep };
    assert_eq!((due_parts(&row), due_parts(&row[..row.len() - 1])), (Some(of), None));
    let leads = due_of(tenant, collection, &record);
    assert_eq!(due_led_to(&leads, &due_lead(&row)).as_deref(), Some(&row[..]));
    assert_eq!((due_led_to(&leads, &row[..2]), due_led_to(&leads, &row[..5])), (None, None));
    let (own, other) = (all_asleep(tenant, collection), all_asleep(tenant, CollectionNo(4)));
    assert!(own.from <= row && row < own.to && own.to <= other.from);
    let key = asleep_of(tenant, collection);
    assert_eq!((asleep_of_parts(&key), asleep_of_parts(&key[1..]), asleep_of_parts(&row)), (Some((tenant, collection)), None, None));
    let tenants = table_of_tenant(Table::AsleepOf, tenant);
    assert!(tenants.from <= key && key < tenants.to);
}

#[test]
fn reports_lie_in_the_order_of_their_days_and_read_back() {
    let (tenant, run) = (TenantNo(u64::MAX), [0xff; 12]);
    let (one, next) = (ReportId::of(20_000, &run), ReportId::of(20_001, &[0; 12]));
    assert_eq!((one.day(), next.day()), (20_000, 20_001));
    for key in [retention_report, open_report] {
        assert!(key(tenant, one) < key(tenant, next));
        assert_eq!(report_parts(&key(tenant, one)), Some((tenant, one)));
        assert_eq!(report_parts(&key(tenant, one)[..24]), None);
    }
    let range = shreds_of_report(tenant, one);
    let row = report_shred(tenant, one, ShredId([0xff; 16]));
    assert!(range.from <= row && row < range.to);
    assert_eq!(report_parts(&row), None);
    let other = report_shred(tenant, next, ShredId([0; 16]));
    assert!(other >= range.to);
}

/// What one hold is on is no part of what another is on, however their names begin.
#[test]
fn the_holds_on_a_thing_are_found_and_no_others() {
    let (one, two, no) = ([1; 16], [2; 16], CollectionNo(3));
    let things = [
        HeldThing::Tenant,
        HeldThing::Subject(one),
        HeldThing::Subject(two),
        HeldThing::Under(no, vec![]),
        HeldThing::Under(no, vec![one]),
        HeldThing::Under(no, vec![one, two]),
        HeldThing::Under(no, vec![two]),
        HeldThing::Under(CollectionNo(4), vec![]),
        HeldThing::Record(no, vec![one]),
        HeldThing::Record(no, vec![one, two]),
    ];
    for (at, thing) in things.iter().enumerate() {
        // Its id begins as another's tokens do.
        let row = hold_on(TenantNo(7), thing, HoldId(two));
        assert_eq!(hold_on_parts(&row), Some((TenantNo(7), thing.clone(), HoldId(two))));
        assert_eq!((hold_on_parts(&row[..row.len() - 1]), hold_on_parts(&[&row[..], &[0]].concat())), (None, None));
        for (other, of) in things.iter().enumerate() {
            let range = holds_on(TenantNo(7), of);
            assert_eq!(range.from <= row && row < range.to, at == other, "{thing:?} under {of:?}");
        }
        let range = holds_on(TenantNo(8), thing);
        assert!(row < range.from || row >= range.to);
    }
    for fineness in Fineness::ALL {
        let due = due(fineness, 20_000, TenantNo(7), no, &[one, two]);
        let held = held_due(HoldId(two), &due);
        assert_eq!(held_due_parts(&held), Some((HoldId(two), due)));
        assert_eq!(held_due_parts(&held[..held.len() - 1]), None);
        let (range, other) = (all_held_due(HoldId(two)), all_held_due(HoldId(one)));
        assert!(range.from <= held && held < range.to && other.to <= held);
    }
    let lapse = hold_lapse(5, TenantNo(7), HoldId(one));
    assert_eq!((hold_lapse_parts(&lapse), hold_lapse_parts(&lapse[1..])), (Some((5, TenantNo(7), HoldId(one))), None));
}

#[test]
fn the_end_of_a_tenant_lies_in_the_order_of_time_and_reads_back() {
    let (early, late) = (tenant_end(5, TenantNo(u64::MAX)), tenant_end(6, TenantNo(0)));
    assert!(early < late && late < table(Table::TenantEnd).to);
    assert_eq!((tenant_end_parts(&early), tenant_end_parts(&early[1..])), (Some((5, TenantNo(u64::MAX))), None));
    let change = tenant_change(TenantNo(7), 5, &[1; 16]);
    let of = |tenant| table_of_tenant(Table::TenantChange, TenantNo(tenant));
    assert!(of(7).from <= change && change < of(7).to && change < of(8).from);
    assert_eq!((tenant_change_parts(&change), tenant_change_parts(&change[1..])), (Some((TenantNo(7), 5, [1; 16])), None));
}

#[test]
fn an_alias_row_tells_whose_it_is() {
    let row = alias(TenantNo(7), &[1; 16]);
    assert_eq!(alias_parts(&row), Some((TenantNo(7), [1; 16])));
    assert_eq!((alias_parts(&row[1..]), alias_parts(&row[..24]), alias_parts(&[&row[..], &[0]].concat())), (None, None, None));
    assert_eq!(alias_parts(&subject_state(TenantNo(7), &[1; 16])), None);
    let range = table_of_tenant(Table::Alias, TenantNo(7));
    assert!(range.from <= row && row < range.to);
}

#[test]
fn what_waits_for_a_second_person_lies_in_the_order_of_its_end() {
    let (one, two) = (ApprovalId([1; 16]), ApprovalId([0xff; 16]));
    let due = approval_due(5, TenantNo(7), two);
    assert!(due < approval_due(6, TenantNo(0), one));
    assert_eq!(approval_due_parts(&due), Some((5, TenantNo(7), two)));
    assert_eq!((approval_due_parts(&due[..due.len() - 1]), approval_due_parts(&[&due[..], &[0]].concat())), (None, None));
    let row = shortening(TenantNo(7), CollectionNo(3), 5);
    assert_eq!((shortening_parts(&row), shortening_parts(&row[1..])), (Some((TenantNo(7), CollectionNo(3), 5)), None));
    let (range, other) = (shortenings_of(TenantNo(7), CollectionNo(3)), shortenings_of(TenantNo(7), CollectionNo(4)));
    assert!(range.from <= row && row < range.to && range.to <= other.from);
}

#[test]
fn what_was_reported_lies_in_the_order_of_its_numbers() {
    let (early, late) = (event_queue(5), event_queue(6));
    assert!(early < late && event_queue_from(6).from == late && late < event_queue_from(5).to);
    assert_eq!((event_queue_number(&early), event_queue_number(&early[1..]), event_queue_number(&early[..8])), (Some(5), None, None));
    let (one, other) = (ShredId([1; 16]), ShredId([2; 16]));
    let row = left_events(TenantNo(7), one, &[3; 16]);
    let (of, of_other) = (left_events_of(TenantNo(7), one), left_events_of(TenantNo(7), other));
    assert!(of.from <= row && row < of.to && of.to <= of_other.from);
    let range = table_of_tenant(Table::Events, TenantNo(7));
    let row = events(TenantNo(7), &[3; 16]);
    assert!(range.from <= row && row < range.to);
}

#[test]
fn the_longest_key_of_a_record_is_within_the_limit() {
    let tokens = [[0; 16]; crate::domain::limits::KEY_SEGMENTS.max as usize];
    assert!(subject_record(TenantNo(0), &[0; 16], CollectionNo(0), &tokens).len() <= KEY_LEN_MAX);
    let due = due(Fineness::Month, 0, TenantNo(0), CollectionNo(0), &tokens);
    assert!(held_due(HoldId([0; 16]), &due).len() <= KEY_LEN_MAX);
    let page = DuePage { hour: 0, tenant: TenantNo(0), collection: CollectionNo(0), page: 0 };
    assert!(due_listed(&page, 0, &tokens).len() <= KEY_LEN_MAX);
    assert!(due_asleep(TenantNo(0), CollectionNo(0), &tokens).len() <= KEY_LEN_MAX);
    assert!(hold_on(TenantNo(0), &HeldThing::Record(CollectionNo(0), tokens.to_vec()), HoldId([0; 16])).len() <= KEY_LEN_MAX);
}

/// Every tag has its line in section 14 of the document.
#[test]
fn the_format_document_lists_every_table() {
    let (document, code) = (include_str!("../../../../docs/format.md"), include_str!("tables.rs"));
    let (_, tables) = code.split_once("pub enum Table {\n").unwrap();
    let tables = tables.split("\n}").next().unwrap().lines().map(str::trim).filter(|line| !line.starts_with("///"));
    let mut count = 0;
    for line in tables {
        let (name, tag) = line.trim_end_matches(',').split_once(" = ").unwrap();
        assert!(document.contains(&format!("\n| {tag} | `{name}` | ")), "docs/format.md, section 14: add table {tag}, `{name}`");
        count += 1;
    }
    assert!(count > 30);
}

proptest! {
    #[test]
    fn a_prefix_range_holds_what_begins_so(start in prop::collection::vec(any::<u8>(), 0..6), key in prop::collection::vec(any::<u8>(), 0..8)) {
        let range = prefix(&start);
        let within = range.from.as_ref() <= key.as_slice() && key.as_slice() < range.to.as_ref();
        prop_assert_eq!(within, key.starts_with(&start));
    }

    #[test]
    fn the_rest_of_a_range_begins_right_behind_a_key(key in prop::collection::vec(any::<u8>(), 0..8), other in prop::collection::vec(any::<u8>(), 0..8)) {
        prop_assert_eq!(other > key, other.as_slice() >= successor(&key).as_ref());
    }
}
