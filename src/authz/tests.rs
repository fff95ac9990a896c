use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::authn::{MintedToken, Narrowing, PresentedToken, StoredToken, TokenKind};
use crate::domain::{CollectionName, RecordKey, Timestamp, TokenId};

const OWN: TenantNo = TenantNo(7);
const OTHER: TenantNo = TenantNo(8);

fn principal(role: Role, tenant: TenantNo, narrowing: Narrowing) -> Principal {
    let kind = if role == Role::Operator { TokenKind::Operator } else { TokenKind::Service };
    let minted = MintedToken::new(kind, TokenId([1; 16]), [2; 32]);
    let stored =
        StoredToken { id: minted.id(), hash: minted.hash(), tenant, role, kind, expires_at: None, created_at: Timestamp(0), narrowing };
    PresentedToken::parse(&minted.into_text()).unwrap().verify(&stored, Timestamp(0)).unwrap()
}

fn at_home(role: Role, narrowing: Narrowing) -> Principal {
    principal(role, if role == Role::Operator { TenantNo::SYSTEM } else { OWN }, narrowing)
}

fn collection(name: &str) -> CollectionName {
    CollectionName::parse(name).unwrap()
}

fn key(text: &str) -> RecordKey {
    RecordKey::parse(text).unwrap()
}

fn narrowed(collections: &[&str], prefix: Option<&str>) -> Narrowing {
    Narrowing { collections: collections.iter().map(|name| collection(name)).collect(), prefix: prefix.map(key) }
}

fn resource(kind: ResourceKind, tenant: TenantNo) -> Resource {
    let collection = collection("crm");
    match kind {
        ResourceKind::Store => Resource::Store,
        ResourceKind::Tenant => Resource::Tenant { tenant },
        ResourceKind::Shredded => Resource::Shredded { tenant },
        ResourceKind::Held => Resource::Held { tenant, collection, key: Some(key("eu/anna")) },
        ResourceKind::Collection => Resource::Collection { tenant, collection },
        ResourceKind::Keys => Resource::Keys { tenant, collection, prefix: None },
        ResourceKind::Record => Resource::Record { tenant, collection, key: key("eu/anna") },
    }
}

fn cell(principal: &Principal, action: ActionKind, resource: &Resource) -> &'static str {
    match decide_kind(principal, action, resource) {
        Ok(()) => "allow",
        Err(Denied::Forbidden) => "403",
        Err(Denied::NotFound) => "404",
    }
}

fn render() -> String {
    let mut text = String::from(
        "Who may do what to which kind of thing: the answer of authz::decide for every role x action x kind of resource.\n\
         Made by the test `the_policy_is_the_golden_file`; changing it is changing who may read what.\n\
         The record is crm eu/anna, the keys are all of crm; in the last part the tenant is not the principal's own.\n\
         `shredded` is a tenant whose shred the principal's own token has ordered, `held` a record of a tenant of which legal holds alone keep something.\n",
    );
    let parts = [
        ("own tenant, whole grant", Narrowing::default(), OWN),
        ("own tenant, grant narrowed to the collection", narrowed(&["crm"], None), OWN),
        ("own tenant, grant narrowed to the record's prefix", narrowed(&["crm"], Some("eu")), OWN),
        ("own tenant, grant narrowed to another collection", narrowed(&["sales"], None), OWN),
        ("another tenant, whole grant", Narrowing::default(), OTHER),
    ];
    for (title, narrowing, tenant) in parts {
        let mut line = format!("{:<11}{:<18}", "resource", "action");
        for role in Role::ALL {
            write!(line, "{:<10}", role.name()).unwrap();
        }
        write!(text, "\n# {title}\n{}\n", line.trim_end()).unwrap();
        for kind in ResourceKind::ALL {
            for &action in ActionKind::ALL {
                let mut line = format!("{:<11}{:<18}", kind.name(), action.name());
                for role in Role::ALL {
                    let _ = write!(line, "{:<10}", cell(&at_home(role, narrowing.clone()), action, &resource(kind, tenant)));
                }
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
    }
    text
}

#[test]
fn the_policy_is_the_golden_file() {
    let rendered = render();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/policy.txt");
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    if golden != rendered {
        let out = concat!(env!("CARGO_MANIFEST_DIR"), "/target/policy.txt");
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/target")).unwrap();
        std::fs::write(out, &rendered).unwrap();
        let changed: Vec<_> = rendered.lines().zip(golden.lines()).filter(|(new, old)| new != old).take(10).collect();
        panic!(
            "the policy is not tests/golden/policy.txt; if the change is meant, copy target/policy.txt there. First (new, old): {changed:#?}"
        );
    }
}

#[test]
fn every_action_is_in_the_policy_and_no_row_twice() {
    for &action in ActionKind::ALL {
        assert!(policy::POLICY.iter().any(|rule| rule.action == action), "nobody may {}", action.name());
    }
    for (at, rule) in policy::POLICY.iter().enumerate() {
        let twice = policy::POLICY.iter().skip(at + 1).any(|other| other.action == rule.action && other.on == rule.on);
        assert!(!twice, "{} on {} has two rows", rule.action.name(), rule.on.name());
    }
}

#[test]
fn an_operator_can_do_nothing_below_a_tenant() {
    let operator = at_home(Role::Operator, Narrowing::default());
    for &action in ActionKind::ALL {
        assert_ne!(cell(&operator, action, &resource(ResourceKind::Shredded, OWN)), "allow", "{}", action.name());
        for kind in [ResourceKind::Collection, ResourceKind::Keys, ResourceKind::Record] {
            for tenant in [OWN, TenantNo::SYSTEM] {
                assert_eq!(cell(&operator, action, &resource(kind, tenant)), "404", "{} on {}", action.name(), kind.name());
            }
        }
    }
}

#[test]
fn an_eraser_deletes_and_shreds_and_reads_nothing() {
    let eraser = at_home(Role::Eraser, Narrowing::default());
    assert!(decide::<action::RecordDelete>(&eraser, &resource(ResourceKind::Record, OWN)).is_ok());
    assert!(decide::<action::ShredOrder>(&eraser, &resource(ResourceKind::Tenant, OWN)).is_ok());
    // But for the trail of a tenant that it has shredded itself: pseudonyms.
    for kind in ResourceKind::ALL.into_iter().filter(|kind| *kind != ResourceKind::Shredded) {
        for read in [ActionKind::RecordRead, ActionKind::RestrictedRead, ActionKind::RecordList, ActionKind::AuditRead] {
            assert_ne!(cell(&eraser, read, &resource(kind, OWN)), "allow", "{} on {}", read.name(), kind.name());
        }
    }
}

#[test]
fn a_list_must_lie_within_the_prefix_of_the_grant() {
    let reader = at_home(Role::Reader, narrowed(&["crm"], Some("eu")));
    let list = |prefix: Option<&str>| {
        let keys = Resource::Keys { tenant: OWN, collection: collection("crm"), prefix: prefix.map(key) };
        cell(&reader, ActionKind::RecordList, &keys)
    };
    assert_eq!((list(Some("eu")), list(Some("eu/de"))), ("allow", "allow"));
    assert_eq!((list(None), list(Some("europe")), list(Some("us"))), ("403", "403", "403"));
}

#[test]
fn a_persons_shred_needs_a_grant_that_was_not_narrowed() {
    for narrowing in [narrowed(&["crm"], None), narrowed(&[], Some("eu"))] {
        let eraser = at_home(Role::Eraser, narrowing);
        assert_eq!(cell(&eraser, ActionKind::ShredOrder, &resource(ResourceKind::Tenant, OWN)), "403");
    }
    let by_prefix = at_home(Role::Eraser, narrowed(&["crm"], Some("eu")));
    assert_eq!(cell(&by_prefix, ActionKind::ShredOrder, &resource(ResourceKind::Collection, OWN)), "403");
    assert_eq!(cell(&by_prefix, ActionKind::ShredOrder, &resource(ResourceKind::Record, OWN)), "allow");
}

#[test]
fn a_list_is_of_keys_and_anything_else_of_a_record_or_the_collection() {
    let (name, prefix) = (collection("crm"), key("eu"));
    let of = |resource: Resource| resource.kind();
    assert_eq!(of(Resource::collection::<action::RecordList>(OWN, &name, Some(&prefix))), ResourceKind::Keys);
    assert_eq!(of(Resource::collection::<action::RecordList>(OWN, &name, None)), ResourceKind::Keys);
    assert_eq!(of(Resource::collection::<action::RecordRead>(OWN, &name, Some(&prefix))), ResourceKind::Record);
    assert_eq!(of(Resource::collection::<action::ShredOrder>(OWN, &name, None)), ResourceKind::Collection);
}

#[test]
fn a_permit_says_who_what_and_where() {
    let reader = at_home(Role::Reader, Narrowing::default());
    let permit = decide::<action::RecordRead>(&reader, &resource(ResourceKind::Record, OWN)).unwrap();
    assert_eq!((permit.principal(), permit.tenant(), permit.action()), (&reader, OWN, ActionKind::RecordRead));
    assert_eq!(permit.resource(), &resource(ResourceKind::Record, OWN));
}

fn any_narrowing() -> impl Strategy<Value = Narrowing> {
    let collections = prop::sample::subsequence(vec!["crm", "sales", "logs"], 0..3);
    (collections, prop::option::of(prop::sample::select(vec!["eu", "eu/anna", "us"])))
        .prop_map(|(collections, prefix)| narrowed(&collections, prefix))
}

fn any_resource() -> impl Strategy<Value = Resource> {
    let tenant = prop::sample::select(vec![OWN, OTHER, TenantNo::SYSTEM]);
    let name = prop::sample::select(vec!["crm", "sales", "logs", "else"]);
    let path = prop::option::of(prop::sample::select(vec!["eu", "eu/anna", "eu/anna/1", "us", "europe"]));
    (prop::sample::select(ResourceKind::ALL.to_vec()), tenant, name, path).prop_map(|(kind, tenant, name, path)| {
        let collection = collection(name);
        match kind {
            ResourceKind::Collection => Resource::Collection { tenant, collection },
            ResourceKind::Keys => Resource::Keys { tenant, collection, prefix: path.map(key) },
            ResourceKind::Record => Resource::Record { tenant, collection, key: key(path.unwrap_or("x")) },
            ResourceKind::Held => Resource::Held { tenant, collection, key: path.map(key) },
            ResourceKind::Store | ResourceKind::Tenant | ResourceKind::Shredded => super::tests::resource(kind, tenant),
        }
    })
}

proptest! {
    #[test]
    fn narrowing_never_adds(
        role in prop::sample::select(Role::ALL.to_vec()), action in prop::sample::select(ActionKind::ALL.to_vec()),
        narrowing in any_narrowing(), resource in any_resource()
    ) {
        let whole = decide_kind(&at_home(role, Narrowing::default()), action, &resource);
        let part = decide_kind(&at_home(role, narrowing), action, &resource);
        prop_assert!(part.is_err() || whole.is_ok());
    }

    #[test]
    fn a_grant_within_another_is_allowed_no_more(
        role in prop::sample::select(Role::ALL.to_vec()), action in prop::sample::select(ActionKind::ALL.to_vec()),
        outer in any_narrowing(), inner in any_narrowing(), resource in any_resource()
    ) {
        prop_assume!(outer.contains(&inner));
        if decide_kind(&at_home(role, inner), action, &resource).is_ok() {
            prop_assert!(decide_kind(&at_home(role, outer), action, &resource).is_ok());
        }
    }

    #[test]
    fn another_tenants_anything_is_not_found(
        role in prop::sample::select(vec![Role::Owner, Role::Writer, Role::Reader, Role::Auditor, Role::Eraser]),
        action in prop::sample::select(ActionKind::ALL.to_vec()), narrowing in any_narrowing(), resource in any_resource()
    ) {
        prop_assume!(resource != Resource::Store && resource.tenant_no() != OWN);
        prop_assert_eq!(decide_kind(&at_home(role, narrowing), action, &resource), Err(Denied::NotFound));
    }

    #[test]
    fn outside_the_narrowing_nothing_is_known(
        role in prop::sample::select(Role::ALL.to_vec()), action in prop::sample::select(ActionKind::ALL.to_vec()),
        narrowing in any_narrowing(), name in prop::sample::select(vec!["crm", "sales", "logs", "else"]),
        path in prop::sample::select(vec!["eu", "eu/anna", "us", "europe"])
    ) {
        let outside = !narrowing.reaches(&collection(name)) || !narrowing.covers(&key(path));
        let record = Resource::Record { tenant: OWN, collection: collection(name), key: key(path) };
        prop_assume!(outside);
        prop_assert_eq!(decide_kind(&at_home(role, narrowing), action, &record), Err(Denied::NotFound));
    }
}
