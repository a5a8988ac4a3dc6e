//! The index: keys in, keys out, found and in order.

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
        last_active: None,
    }
}

fn index() -> (Vec<VirtualKey>, Index) {
    let keys: Vec<_> = [Some("Beta"), None, Some("alpha"), Some("İx"), Some("")]
        .into_iter()
        .zip(0..)
        .map(|(a, n)| key(n, a))
        .collect();
    let index = Index::new(keys.chunks(2).map(pack).collect());
    (keys, index)
}

fn found(index: &Index, text: &str, order: Order, downwards: bool) -> Vec<u64> {
    let wanted = Wanted { text, reaches: None, access: None, glance: None };
    index.find(&wanted, order, downwards).iter().map(|key| key.rpm_limit.unwrap()).collect()
}

#[test]
fn keys_come_out_as_they_went_in() {
    let (keys, index) = index();
    assert_eq!(index.iter().collect::<Vec<_>>(), keys);
    assert_eq!(index.get(&keys[3].hash).as_ref(), Some(&keys[3]));
}

#[test]
fn parts_of_texts_are_found_whatever_the_case() {
    let (_, index) = index();
    assert_eq!(found(&index, "BET", Order::Created, true), [0]);
    assert_eq!(found(&index, "...0003", Order::Created, true), [3]);
    assert_eq!(found(&index, "000004", Order::Created, true), [4]);
    assert_eq!(found(&index, "zoË", Order::Created, true), [0, 1, 2, 3, 4]);
    assert_eq!(found(&index, "GPT-5", Order::Created, true), [0, 2, 4]);
    assert_eq!(found(&index, "i\u{307}X", Order::Created, true), [3]);
    assert!(found(&index, "betask", Order::Created, true).is_empty(), "across two fields");
}

#[test]
fn orders_leave_what_has_no_value_to_the_end() {
    let (_, index) = index();
    assert_eq!(found(&index, "", Order::Alias, false), [4, 2, 0, 3, 1]);
    assert_eq!(found(&index, "", Order::Alias, true), [3, 0, 2, 4, 1]);
    assert_eq!(found(&index, "", Order::Budget, true), [4, 3, 2, 0, 1]);
    assert_eq!(found(&index, "", Order::Spend, true), [0, 1, 2, 3, 4]);
    assert_eq!(found(&index, "", Order::Created, false), [4, 3, 2, 1, 0]);
}

#[test]
fn one_key_is_changed_put_in_and_taken_out() {
    let (keys, index) = index();
    let mut changed = keys[2].clone();
    changed.alias = Some("gamma".to_owned());
    let index = index.with(&changed.hash, Some(&changed));
    assert_eq!(found(&index, "gamma", Order::Created, true), [2]);
    assert!(found(&index, "alpha", Order::Created, true).is_empty());
    let new = key(9, Some("new"));
    let index = index.with(&new.hash, Some(&new)).with(&keys[0].hash, None);
    assert_eq!(found(&index, "", Order::Created, true), [9, 1, 2, 3, 4]);
    assert_eq!(index.len(), 5);
}

/// Names, aliases and hashes that share most of their parts, as real ones do.
fn many() -> (Vec<VirtualKey>, Index) {
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
    let index = Index::new(keys.chunks(SEGMENT).map(pack).collect());
    (keys, index)
}

#[test]
fn a_search_finds_what_looking_at_every_key_finds() {
    let (keys, index) = many();
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
        assert_eq!(found(&index, text, Order::Created, true), wanted, "{text}");
    }
}

#[test]
fn pages_of_all_keys_are_as_those_of_a_list_of_them() {
    let (keys, index) = many();
    let all = Wanted { text: "", reaches: None, access: None, glance: None };
    for (order, downwards) in [(Order::Created, true), (Order::Alias, false), (Order::Alias, true)] {
        let found = index.find(&all, order, downwards);
        let listed: Vec<VirtualKey> = found.iter().collect();
        assert_eq!((found.len(), listed.len()), (keys.len(), keys.len()));
        assert_eq!(found.range(990..1_010).collect::<Vec<_>>(), listed[990..1_010]);
        assert_eq!(found.range(2_490..2_600).count(), 10, "beyond the end there is nothing");
        let leader = &keys[1_234].hash;
        let led: Vec<VirtualKey> = index.find(&all, order, downwards).led_by(leader).iter().collect();
        assert_eq!((&led[0].hash, led.len()), (leader, keys.len()));
        assert_eq!(led[1], listed[usize::from(listed[0].hash == *leader)]);
    }
}
