use super::*;
use writer::{meta, sums};

fn sealed() -> Parts {
    Parts::sealed(&entries())
}

#[test]
fn members_may_come_in_any_order() {
    let mut parts = sealed();
    for _ in 0..parts.members.len() {
        parts.members.rotate_left(1);
        prove(&parts.deflated()).expect("it is whole");
    }
    parts.members.swap(1, 2);
    prove(&parts.deflated()).expect("the sums before the state");
}

#[test]
fn each_member_must_be_there_once() {
    for name in ["meta.json", "state.bin", "SHA256SUMS", "SHA256SUMS.sealed"] {
        let missing = sealed().without(name);
        assert_eq!(
            refused(prove_as(Expect::Sealed, &missing.deflated())),
            format!("the snapshot has no {name}")
        );
        assert_eq!(
            damage(&missing.stored()),
            format!("the snapshot has no {name}")
        );
        let mut doubled = sealed();
        let contents = doubled.get(name).clone();
        doubled.add(name, &contents);
        assert_eq!(
            damage(&doubled.deflated()),
            format!("the snapshot has {name} twice")
        );
        let mut renamed = sealed();
        let member = renamed.members.iter_mut().find(|(it, _)| it == name);
        member.expect("it is there").0.push('x');
        assert_eq!(
            damage(&renamed.deflated()),
            format!("the snapshot has a member `{name}x`, which does not belong there")
        );
    }
    let mut extra = sealed();
    extra.add("nope", b"");
    assert_eq!(
        damage(&extra.deflated()),
        "the snapshot has a member `nope`, which does not belong there"
    );
    let none = Parts {
        members: Vec::new(),
    };
    assert_eq!(damage(&none.stored()), "the snapshot has no meta.json");
}

#[test]
fn contents_must_match_their_sums() {
    let mut state = sealed();
    state.get("state.bin")[30] ^= 1;
    assert!(damage(&state.deflated()).starts_with("state.bin is damaged: SHA256SUMS lists "));
    let mut spaces = sealed();
    spaces.get("meta.json").insert(0, b' ');
    assert!(damage(&spaces.deflated()).starts_with("meta.json is damaged: SHA256SUMS lists "));
    // Spaces that were there when the sums were made are part of it.
    let spaces = meta(msgpack().len()).replace("}\n", &format!("{}}}\n", " ".repeat(290)));
    prove(&Parts::with_meta(&spaces, &msgpack()).deflated()).expect("it is whole");
}

#[test]
fn sums_must_list_both_members_once_and_nothing_else() {
    let (meta, state) = (meta(msgpack().len()), msgpack());
    let sound = sums(meta.as_bytes(), &state);
    let lines: Vec<&str> = sound.lines().collect();
    let spoil = |sums: String| {
        let mut parts = Parts::of(&state);
        *parts.get("SHA256SUMS") = sums.into_bytes();
        damage(&parts.deflated())
    };
    for (text, why) in [
        (String::new(), "it does not list meta.json"),
        (format!("{}\n", lines[0]), "it does not list meta.json"),
        (format!("{}\n", lines[1]), "it does not list state.bin"),
        (format!("{sound}{}\n", lines[0]), "it lists state.bin twice"),
        (sound.replace("meta.json", "nope"), "it lists `nope`"),
        (
            sound.replace("meta.json", "SHA256SUMS"),
            "it lists `SHA256SUMS`",
        ),
        (
            sound.replace("  ", " "),
            "a line is not a sum, two spaces and a name",
        ),
        (
            sound[1..].to_owned(),
            "a line is not a sum, two spaces and a name",
        ),
        (
            format!("{sound}\n"),
            "a line is not a sum, two spaces and a name",
        ),
    ] {
        assert_eq!(spoil(text), format!("SHA256SUMS is damaged: {why}"));
    }
    let swapped = format!("{}\n{}\n", lines[1], lines[0]);
    let mut parts = Parts::of(&state);
    *parts.get("SHA256SUMS") = swapped.into_bytes();
    prove(&parts.deflated()).expect("they come in any order");
}

#[test]
fn sizes_must_agree() {
    let wrong = meta(msgpack().len() + 1);
    let mut parts = Parts::with_meta(&wrong, &msgpack());
    let why = "state.bin has 619 bytes, and meta.json says 620";
    assert_eq!(damage(&parts.deflated()), why);
    parts.members.reverse();
    assert_eq!(damage(&parts.deflated()), why);
    for (name, size) in [
        ("meta.json", 65_537),
        ("SHA256SUMS", 8193),
        ("SHA256SUMS.sealed", 8193),
    ] {
        let mut parts = sealed();
        parts.get(name).resize(size, b' ');
        assert_eq!(
            damage(&parts.deflated()),
            format!("{name} is damaged: it has {size} bytes")
        );
    }
}

#[test]
fn metadata_must_make_sense() {
    let sound = meta(msgpack().len());
    let servers = sound
        .split_once("\"Servers\":")
        .and_then(|(_, rest)| rest.split_once("},\"ConfigurationIndex\""))
        .expect("it lists servers")
        .0;
    for (from, to, why) in [
        (
            "\"Version\":1",
            "\"Version\":2",
            "has version 2, and only version 1 is known",
        ),
        (
            "\"Version\":1",
            "\"Version\":0",
            "has version 0, and only version 1 is known",
        ),
        ("\"Index\":54", "\"Index\":0", "is damaged: its index is 0"),
        ("\"Term\":3", "\"Term\":0", "is damaged: its term is 0"),
        (servers, "[]", "is damaged: it lists no servers"),
        (servers, "null", "is damaged: it lists no servers"),
        (
            "\"Suffrage\":1",
            "\"Suffrage\":3",
            "is damaged: a server has suffrage 3",
        ),
        (
            "\"Index\":54",
            "\"Index\":-1",
            "is damaged: it cannot be read: ",
        ),
        ("\"Term\":3,", "", "is damaged: it cannot be read: "),
        (
            "\"Term\":3",
            "\"Term\":3,\"Term\":3",
            "is damaged: it cannot be read: ",
        ),
        ("}\n", "}}\n", "is damaged: it cannot be read: "),
    ] {
        assert!(sound.contains(from), "{from}");
        let spoiled = sound.replacen(from, to, 1);
        let why_not = damage(&Parts::with_meta(&spoiled, &msgpack()).deflated());
        assert!(
            why_not.starts_with(&format!("meta.json {why}")),
            "{why_not}"
        );
    }
}

#[test]
fn sealed_sums_belong_to_storage_entries_and_to_nothing_else() {
    let mut empty = sealed();
    empty.get("SHA256SUMS.sealed").clear();
    assert_eq!(damage(&empty.deflated()), "SHA256SUMS.sealed is empty");
    let foreign = Parts::sealed(&msgpack()).deflated();
    for expect in [Expect::Any, Expect::Sealed] {
        assert_eq!(
            refused(prove_as(expect, &foreign)),
            "state.bin is damaged: entry 1 does not begin with a key"
        );
    }
    let unsealed = sealed().without("SHA256SUMS.sealed").deflated();
    assert_eq!(damage(&unsealed), "the snapshot has no SHA256SUMS.sealed");
    prove_as(Expect::Unsealed, &unsealed).expect("any state will do");
}
