use super::*;

#[tokio::test]
#[ignore = "needs redis-server"]
async fn roles_are_what_the_servers_say() {
    let mut primary = RedisServer::start(&[]);
    let alone = beside(&primary).probe().await.expect("it answers");
    assert_eq!(alone.role, Role::Standalone);
    assert_eq!(
        Some(alone.version.clone()),
        Some(primary.info("redis_version"))
    );

    let replica = replica_of(&primary, &[]);
    wait_until("the replica is online", PATIENCE, || {
        primary
            .cli(&["ROLE"])
            .contains(&replica.port.to_string())
            .then_some(())
            .ok_or("no".into())
    });
    let seen = beside(&primary).probe().await.expect("it answers");
    assert_eq!((seen.role, seen.online_replicas), (Role::Primary, 1));
    let seen = beside(&replica).probe().await.expect("it answers");
    assert_eq!((seen.role, &seen.not_now), (Role::Replica, &None));
    assert_eq!(seen.leader, Some(format!("127.0.0.1:{}", primary.port)));
    assert!(seen.summary.contains("replica in sync"), "{}", seen.summary);

    primary.kill9();
    wait_for(&replica, "master_link_status", "down");
    let seen = beside(&replica).probe().await.expect("it answers");
    assert_eq!(seen.role, Role::Replica);
    let why = seen.not_now.expect("it has lost its primary");
    assert!(
        why.starts_with("replica is not in sync with 127.0.0.1:"),
        "{why}"
    );

    let error = beside(&primary).probe().await.expect_err("it was killed");
    assert_eq!(error.kind, SourceErrorKind::Unreachable);
    assert!(error.why.contains("connection refused"), "{error}");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_replica_synced_past_its_disk_has_a_stale_dump() {
    let primary = RedisServer::start(&[]);
    primary.populate(1_000, "new", 10);
    let replica = RedisServer::start(&["--repl-diskless-load", "swapdb"]);
    replica.cli(&["SET", "old", "1"]);
    replica.save();
    follow(&replica, &primary);
    let source = beside(&replica);
    let error = capture(&source)
        .await
        .expect_err("the dump is of another data set");
    assert_eq!(error.kind, SourceErrorKind::Stale);
    assert!(error.why.contains("another replication history"), "{error}");
    let findings = source.inspect().await;
    assert!(
        findings
            .iter()
            .any(|finding| finding.problem == Some(Severity::Failed))
    );
    replica.save();
    capture(&source).await.expect("it has saved its own data");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn healthy_fleets_raise_no_alarm_over_history() {
    let mut one = RedisServer::start(&[]);
    one.cli(&["SET", "key", "value"]);
    one.save();
    let mut two = replica_of(&one, &[]);
    capture(&beside(&two))
        .await
        .expect("the sync was saved to disk");
    two.cli(&["BGSAVE"]);
    wait_for(&two, "rdb_bgsave_in_progress", "0");
    capture(&beside(&two)).await.expect("it saves its own data");

    follow(&one, &two);
    for server in [&one, &two] {
        capture(&beside(server))
            .await
            .expect("nothing was written since");
    }
    follow(&two, &one);
    for server in [&one, &two] {
        let caught = capture(&beside(server))
            .await
            .expect("nothing was written since");
        assert!(caught.warnings.is_empty(), "{:?}", caught.warnings);
    }

    two.restart();
    wait_in_sync(&two);
    capture(&beside(&two))
        .await
        .expect("a restarted replica holds its data");
    // The transfer to the replica was one of these, and SAVE does not wait for it.
    wait_for(&one, "rdb_bgsave_in_progress", "0");
    one.cli(&["SET", "key", "other"]);
    one.save();
    one.restart();
    wait_in_sync(&two);
    capture(&beside(&one))
        .await
        .expect("a restarted primary holds its data");
    wait_until(
        "the replica follows the restarted primary",
        PATIENCE,
        || {
            let ids = [two.info("master_replid"), one.info("master_replid")];
            (ids[0] == ids[1]).then_some(()).ok_or(format!("{ids:?}"))
        },
    );
    capture(&beside(&two))
        .await
        .expect("its dump is of its primary's history");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_role_that_flips_during_the_run_is_reported() {
    let (one, two) = (RedisServer::start(&[]), RedisServer::start(&[]));
    one.cli(&["SET", "key", "value"]);
    one.save();
    let source = beside(&one);
    let before = source.probe().await.expect("it answers");
    let caught = capture(&source).await.expect("it may be saved");
    follow(&one, &two);
    let role = source
        .confirm(&caught, &before)
        .await
        .expect("the file stayed");
    assert_eq!((before.role, role), (Role::Standalone, Role::Replica));
}
