use super::*;

fn server() -> Server {
    Server::parse("redis://localhost").expect("it is a server's URL")
}

fn info(lines: &[&str]) -> Probe {
    from_info(&lines.join("\r\n"), &server()).expect("a data node answers so")
}

fn role(parts: Vec<Value>) -> Result<Probe, SourceError> {
    from_role(Value::Array(parts), &server())
}

fn word(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

const REPLICA: [&str; 4] = [
    "redis_version:7.0.15",
    "role:slave",
    "master_host:10.0.3.7",
    "master_port:6379",
];

#[test]
fn a_primary_without_replicas_stands_alone() {
    let probe = info(&["redis_version:7.0.15", "role:master", "connected_slaves:0"]);
    assert_eq!(probe.role, Role::Standalone);
    assert_eq!(probe.summary, "7.0.15, standalone");
    assert_eq!((probe.not_now, probe.leader), (None, None));
}

#[test]
fn replicas_count_when_they_are_online() {
    let probe = info(&[
        "redis_version:7.0.15",
        "role:master",
        "connected_slaves:2",
        "slave0:ip=10.0.0.2,port=6379,state=online,offset=1,lag=0",
        "slave1:ip=10.0.0.3,port=6379,state=wait_bgsave,offset=0,lag=0",
        "slaves_waiting:state=online",
    ]);
    assert_eq!((probe.role, probe.online_replicas), (Role::Primary, 1));
    assert_eq!(probe.summary, "7.0.15, primary of 1 replica");
}

#[test]
fn a_replica_with_its_link_up_is_in_sync() {
    let lines = [
        &REPLICA[..],
        &["master_link_status:up", "master_sync_in_progress:0"],
    ]
    .concat();
    let probe = info(&lines);
    assert_eq!((probe.role, probe.not_now), (Role::Replica, None));
    assert_eq!(probe.leader.as_deref(), Some("10.0.3.7:6379"));
    assert_eq!(probe.summary, "7.0.15, replica in sync with 10.0.3.7:6379");
}

#[test]
fn a_replica_out_of_sync_is_not_to_be_saved_now() {
    let cases: [(&[&str], &str); 3] = [
        (
            &[
                "master_link_status:down",
                "master_link_down_since_seconds:3",
            ],
            "replica is not in sync with 10.0.3.7:6379: link down for 3 s",
        ),
        (
            &[
                "master_link_status:down",
                "master_link_down_since_seconds:-1",
            ],
            "replica is not in sync with 10.0.3.7:6379: link down",
        ),
        (
            &["master_link_status:down", "master_sync_in_progress:1"],
            "replica is not in sync with 10.0.3.7:6379: a full sync is under way",
        ),
    ];
    for (link, why) in cases {
        let probe = info(&[&REPLICA[..], link].concat());
        assert_eq!(probe.role, Role::Replica);
        assert_eq!(probe.not_now.as_deref(), Some(why));
    }
}

#[test]
fn a_loading_server_is_not_to_be_saved_now() {
    let probe = info(&["role:master", "loading:1", "connected_slaves:0"]);
    assert_eq!(probe.not_now.as_deref(), Some(LOADING));
    assert!(info(&["role:master", "loading:0"]).not_now.is_none());
}

#[test]
fn valkey_goes_by_its_own_version() {
    let probe = info(&[
        "redis_version:7.2.4",
        "server_name:valkey",
        "valkey_version:8.1.0",
        "server_mode:standalone",
        "role:master",
    ]);
    assert_eq!(probe.version.as_deref(), Some("8.1.0"));
    assert_eq!(probe.summary, "valkey 8.1.0, standalone");
    assert_eq!(State::of(&probe).server.as_deref(), Some("valkey"));
}

#[test]
fn a_sentinel_is_no_source() {
    for mode in ["redis_mode:sentinel", "server_mode:sentinel"] {
        let error = from_info(mode, &server()).expect_err("a sentinel has no data");
        assert!(error.why.contains("is a sentinel"), "{error}");
    }
    role(vec![word("sentinel"), Value::Array(vec![])]).expect_err("a sentinel has no data");
}

#[test]
fn an_answer_without_a_role_is_an_error() {
    from_info("redis_version:7.0.15", &server()).expect_err("no role was said");
    from_info("", &server()).expect_err("no role was said");
    from_role(Value::Nil, &server()).expect_err("no role was said");
    role(vec![]).expect_err("no role was said");
}

#[test]
fn role_alone_is_enough() {
    let probe = role(vec![word("master"), Value::Int(7), Value::Array(vec![])]);
    assert_eq!(probe.expect("it said its role").role, Role::Standalone);
    let replicas = vec![Value::Array(vec![
        word("10.0.0.2"),
        word("6379"),
        word("7"),
    ])];
    let probe = role(vec![word("master"), Value::Int(7), Value::Array(replicas)]);
    let probe = probe.expect("it said its role");
    assert_eq!((probe.role, probe.online_replicas), (Role::Primary, 1));
    let replica = |state| {
        role(vec![
            word("slave"),
            word("10.0.3.7"),
            Value::Int(6379),
            word(state),
            Value::Int(-1),
        ])
        .expect("it said its role")
    };
    assert_eq!(replica("connected").not_now, None);
    assert_eq!(
        replica("connected").leader.as_deref(),
        Some("10.0.3.7:6379")
    );
    let why = replica("connect").not_now.expect("the link is down");
    assert!(why.ends_with("link is `connect`"), "{why}");
}

#[test]
fn state_survives_the_way_to_the_capture() {
    let probe = info(&[
        "role:master",
        "master_replid:aa",
        "master_replid2:0000000000000000000000000000000000000000",
        "rdb_changes_since_last_save:18204",
        "rdb_saves:2",
        "rdb_last_save_time:1795236281",
        "rdb_last_bgsave_status:err",
        "aof_enabled:1",
        "cluster_enabled:0",
    ]);
    let expected = State {
        server: Some("redis".into()),
        replid: Some("aa".into()),
        replid2: None,
        changes: Some(18_204),
        saves: Some(2),
        last_save: Some(1_795_236_281),
        last_save_ok: Some(false),
        append_only: Some(true),
        cluster: Some(false),
    };
    assert_eq!(State::of(&probe), expected);
    assert_eq!(State::of(&Probe::of(Role::Unknown, "")), State::default());
}
