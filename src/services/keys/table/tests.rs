//! The table: keys in, keys out, found and in order.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::*;

fn key(number: u64, alias: Option<&str>) -> VirtualKey {
    VirtualKey {
        hash: format!("{number:064x}").parse().unwrap(),
        alias: alias.map(str::to_owned),
        masked: format!("sk-...{number:04}"),
        access: if number.is_multiple_of(2) {
            Access::List(vec!["openai/gpt-5".to_owned()])
        } else {
            Access::All
        },
        spend: 1.0 / (1.0 + f64::from(u32::try_from(number).unwrap())),
        max_budget: (number > 1).then(|| f64::from(u32::try_from(number).unwrap())),
        budget_duration: Some("30d".to_owned()),
        expires: None,
        rpm_limit: Some(number),
        tpm_limit: None,
        max_parallel_requests: None,
        blocked: number == 3,
        user_id: Some("Zoë".to_owned()),
        team_id: None,
        created_at: Timestamp::from_second(1_000 - number.cast_signed()).ok(),
        budget_limits: Vec::new(),
        access_group_ids: Vec::new(),
        aliases: BTreeMap::new(),
        is_custom: false,
        last_active: None,
    }
}

pub(in crate::services::keys) fn keys() -> Vec<VirtualKey> {
    let aliases = [Some("Beta"), None, Some("alpha"), Some("İx"), Some("")];
    aliases.into_iter().zip(0..).map(|(alias, number)| key(number, alias)).collect()
}

fn table() -> (Vec<VirtualKey>, KeyTable) {
    let keys = keys();
    let mut table = KeyTable::default();
    keys.chunks(2).for_each(|chunk| table.extend(chunk));
    (keys, table)
}

fn found(table: &KeyTable, text: &str, order: Order, descending: bool) -> Vec<u64> {
    let filter = KeyFilter { text, ..KeyFilter::default() };
    table.find(&filter, order, descending).iter().map(|key| key.rpm_limit.unwrap()).collect()
}

#[test]
fn keys_come_out_as_they_went_in() {
    let (keys, table) = table();
    assert_eq!(table.iter().collect::<Vec<_>>(), keys);
    assert_eq!(table.get(&keys[3].hash).as_ref(), Some(&keys[3]));
}

#[test]
fn parts_of_texts_are_found_whatever_the_case() {
    let (_, table) = table();
    assert_eq!(found(&table, "BET", Order::Created, true), [0]);
    assert_eq!(found(&table, "...0003", Order::Created, true), [3]);
    assert_eq!(found(&table, "000004", Order::Created, true), [4]);
    assert_eq!(found(&table, "zoË", Order::Created, true), [0, 1, 2, 3, 4]);
    assert_eq!(found(&table, "GPT-5", Order::Created, true), [0, 2, 4]);
    assert_eq!(found(&table, "i\u{307}X", Order::Created, true), [3]);
    assert!(found(&table, "betask", Order::Created, true).is_empty(), "across two fields");
}

#[test]
fn orders_leave_what_has_no_value_to_the_end() {
    let (_, table) = table();
    assert_eq!(found(&table, "", Order::Alias, false), [4, 2, 0, 3, 1]);
    assert_eq!(found(&table, "", Order::Alias, true), [3, 0, 2, 4, 1]);
    assert_eq!(found(&table, "", Order::Budget, true), [4, 3, 2, 0, 1]);
    assert_eq!(found(&table, "", Order::Spend, true), [0, 1, 2, 3, 4]);
    assert_eq!(found(&table, "", Order::Created, false), [4, 3, 2, 1, 0]);
}

#[test]
fn one_key_is_changed_put_in_and_taken_out() {
    let (keys, table) = table();
    let mut table = table;
    let mut changed = keys[2].clone();
    changed.alias = Some("gamma".to_owned());
    changed.access = Access::None;
    table.set(&changed.hash, Some(&changed));
    assert_eq!(found(&table, "gamma", Order::Created, true), [2]);
    assert!(found(&table, "alpha", Order::Created, true).is_empty());
    let new = key(9, Some("new"));
    table.set(&new.hash, Some(&new));
    table.set(&keys[0].hash, None);
    table.set(&keys[0].hash, None);
    assert_eq!(table.get(&new.hash), Some(new.clone()));
    assert_eq!((table.get(&keys[0].hash), table.len()), (None, 5));
    assert_eq!(found(&table, "", Order::Alias, false), [4, 2, 3, 9, 1]);
    // As if they had been read like this.
    let now = [&new, &keys[1], &changed, &keys[3], &keys[4]].map(Clone::clone);
    let read = KeyTable::new(&now);
    assert_eq!(table.size(), read.size());
    for order in Order::ALL {
        for descending in [false, true] {
            assert_eq!(
                found(&table, "", order, descending),
                found(&read, "", order, descending),
                "{order:?}"
            );
        }
    }
    assert_eq!(callers(&table, "openai/gpt-5", &[]), callers(&read, "openai/gpt-5", &[]));
}

/// Counted in both ways.
fn callers(table: &KeyTable, name: &str, groups: &[&str]) -> usize {
    let (rules, target) = (Rules::default(), Target { name, groups: groups.to_vec(), ..Target::default() });
    let now = Timestamp::UNIX_EPOCH;
    let count = table.count_callers(&rules, &target, &table.usable_per_grant(now));
    assert_eq!(table.callers(&rules, &target, now).len(), count, "{name}");
    count
}

#[test]
fn keys_that_may_call_a_model_are_counted_once() {
    let with = |number, access| VirtualKey { access, blocked: false, ..key(number, None) };
    let list = |names: &[&str]| Access::List(names.iter().map(|&name| name.to_owned()).collect());
    let table = KeyTable::new(&[
        with(0, Access::All),
        with(1, Access::None),
        with(2, list(&["openai/gpt-5", "openai/*", "openai/gpt-5"])),
        with(3, list(&["openai/*"])),
        with(4, list(&["fast", "openai/gpt-5"])),
        with(5, list(&["anthropic/x"])),
        with(6, list(&["anthropic/x"])),
    ]);
    assert_eq!(callers(&table, "openai/gpt-5", &["fast"]), 4);
    assert_eq!(callers(&table, "openai/gpt-5-mini", &[]), 3);
    assert_eq!(callers(&table, "anthropic/x", &[]), 3);
    assert_eq!(callers(&table, "unknown", &["fast"]), 2);
}

/// Names, aliases and hashes that share most of their parts, as real ones do.
fn many() -> (Vec<VirtualKey>, KeyTable) {
    let keys: Vec<VirtualKey> = (0..2_500)
        .map(|number: u64| {
            let hash = KeyHash::of(&number.to_string().into());
            let models = (0..number % 4).map(|n| format!("Provider{n}/model-{}", number % 37)).collect();
            VirtualKey {
                masked: format!("sk-...{}", &hash.as_str()[60..]),
                hash,
                access: if number.is_multiple_of(5) { Access::All } else { Access::List(models) },
                user_id: Some(format!("user-{}", number % 100)),
                ..key(number, (!number.is_multiple_of(7)).then(|| format!("Team-key-{number:06}")).as_deref())
            }
        })
        .collect();
    let mut table = KeyTable::default();
    keys.chunks(1_000).for_each(|chunk| table.extend(chunk));
    (keys, table)
}

#[test]
fn a_search_finds_what_looking_at_every_key_finds() {
    let (keys, table) = many();
    let holds = |key: &VirtualKey, text: &str| {
        let names = match &key.access {
            Access::List(models) => models.as_slice(),
            Access::All | Access::None => &[],
        };
        let texts =
            [key.alias.as_deref(), Some(&key.masked), Some(key.hash.as_str()), key.user_id.as_deref()];
        texts
            .into_iter()
            .flatten()
            .chain(names.iter().map(String::as_str))
            .any(|field| field.to_lowercase().contains(&text.to_lowercase()))
    };
    let hash = keys[1_777].hash.as_str();
    let parts =
        [&hash[..10], &hash[20..64], hash, "", "0", "00", "000", "0042", "4-0", "a0", "cafe", "...00"];
    for text in parts
        .into_iter()
        .chain(["team-KEY-0017", "KEY-002499", "user-9", "user-99", "user-999"])
        .chain(["model-36", "provider2/MODEL-1", "el-1", "provider0/model-36x", "nothing of it"])
    {
        let wanted: Vec<u64> =
            keys.iter().filter(|key| holds(key, text)).map(|key| key.rpm_limit.unwrap()).collect();
        assert_eq!(found(&table, text, Order::Created, true), wanted, "{text}");
    }
}

#[test]
fn pages_of_all_keys_are_as_those_of_a_list_of_them() {
    let (keys, table) = many();
    let all = KeyFilter::default();
    for (order, descending) in [(Order::Created, true), (Order::Alias, false), (Order::Alias, true)] {
        let found = table.find(&all, order, descending);
        let listed: Vec<VirtualKey> = found.iter().collect();
        assert_eq!((found.len(), listed.len()), (keys.len(), keys.len()));
        assert_eq!(found.range(990..1_010).collect::<Vec<_>>(), listed[990..1_010]);
        assert_eq!(found.range(2_490..2_600).count(), 10, "beyond the end there is nothing");
        let leader = &keys[1_234].hash;
        let led: Vec<VirtualKey> = table.find(&all, order, descending).led_by(leader).iter().collect();
        assert_eq!((&led[0].hash, led.len()), (leader, keys.len()));
        assert_eq!(led[1], listed[usize::from(listed[0].hash == *leader)]);
    }
}
