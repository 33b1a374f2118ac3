use super::*;

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_user_needs_info_or_role_alone() {
    let server = RedisServer::options()
        .acl(
            &[
                "user default off",
                "user admin on >secret ~* &* +@all",
                "user info on >hunter2 +info",
                "user role on >hunter2 +role",
                "user none on >hunter2 +ping",
            ],
            "admin",
            "secret",
        )
        .start();
    let replica = replica_of(
        &server,
        &["--masteruser", "admin", "--masterauth", "secret"],
    );
    wait_until("the replica is online", PATIENCE, || {
        server
            .cli(&["ROLE"])
            .contains(&replica.port.to_string())
            .then_some(())
            .ok_or("no".into())
    });
    for user in ["info", "role"] {
        // A database in the URL must not become a SELECT, which such a user may not send.
        let url = format!("redis://{user}:hunter2@127.0.0.1:{}/1", server.port);
        let seen = probe(json!({ "url": url })).await.expect("it may ask");
        assert_eq!(
            (seen.role, seen.online_replicas),
            (Role::Primary, 1),
            "{user}"
        );
    }
    let address = format!("redis://127.0.0.1:{}", server.port);
    let login = json!({ "url": address, "username": "none", "password": "hunter2" });
    let error = refusal(login).await;
    assert_eq!(error.kind, SourceErrorKind::Login);
    assert!(error.why.contains("may not run INFO"), "{error}");
    assert!(error.hint.is_some_and(|hint| hint.contains("+info")));
    let denied = server.cli(&["ACL", "LOG"]);
    assert!(
        denied.contains("info") && !denied.contains("select"),
        "{denied}"
    );
    assert!(!denied.contains("setinfo"), "{denied}");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn logins_that_fail_say_why_and_no_secret() {
    let server = RedisServer::options()
        .acl(&["user default on >other ~* &* +@all"], "default", "other")
        .start();
    let address = format!("redis://127.0.0.1:{}", server.port);
    let cases = [
        (json!({ "url": address }), "asks for a password"),
        (
            json!({ "url": address, "password": "hunter2" }),
            "does not accept this user",
        ),
        (
            json!({ "url": address, "username": "nobody", "password": "hunter2" }),
            "does not accept this user",
        ),
        (
            json!({ "url": format!("redis://:hunter2@127.0.0.1:{}", server.port) }),
            "does not accept this user",
        ),
    ];
    for (settings, words) in cases {
        let error = refusal(settings).await;
        assert_eq!(error.kind, SourceErrorKind::Login, "{error}");
        assert!(error.why.contains(words), "{error}");
        assert!(error.hint.is_some(), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    let open = RedisServer::start(&[]);
    let error = refusal(json!({ "url": open.url(), "password": "hunter2" })).await;
    assert_eq!(error.kind, SourceErrorKind::Login);
    assert!(error.why.contains("asks for none"), "{error}");
    // A server without AUTH repeats the arguments of the command it does not know.
    let renamed = RedisServer::start(&["--rename-command", "AUTH", ""]);
    let error = refusal(json!({ "url": renamed.url(), "password": "hunter2" })).await;
    assert_eq!(error.kind, SourceErrorKind::Login);
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_rotated_password_is_followed() {
    let server = RedisServer::options()
        .acl(
            &[
                "user default off",
                "user admin on >secret ~* &* +@all",
                "user me on >one +info",
            ],
            "admin",
            "secret",
        )
        .start();
    let file = server.dir.join("password");
    fs::write(&file, "one\n").expect("a file can be written");
    let source = source(json!({
        "url": format!("redis://127.0.0.1:{}", server.port),
        "username": "me",
        "password": { "file": file },
    }));
    source.probe().await.expect("the password is right");
    server.cli(&["ACL", "SETUSER", "me", "resetpass", ">two"]);
    source
        .probe()
        .await
        .expect_err("the password is the old one");
    fs::write(&file, "two\n").expect("a file can be written");
    source.probe().await.expect("the password is right again");
    fs::remove_file(&file).expect("it is ours");
    let error = source.probe().await.expect_err("there is no password");
    assert_eq!(error.kind, SourceErrorKind::Login);
    assert!(error.why.contains("`password`"), "{error}");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn certificates_are_checked_against_the_given_authority() {
    let (ca, stranger) = (TestCa::new(), TestCa::new());
    let server = RedisServer::options().tls(&ca).start();
    let url = server.url();
    probe(json!({ "url": url, "ca_cert": ca.ca_pem }))
        .await
        .expect("it is trusted");

    for trust in [
        json!({ "url": url }),
        json!({ "url": url, "ca_cert": stranger.ca_pem }),
    ] {
        let error = refusal(trust).await;
        assert_eq!(error.kind, SourceErrorKind::Login);
        assert!(error.why.contains("no authority trusted here"), "{error}");
        assert!(error.hint.is_some_and(|hint| hint.contains("ca_cert")));
    }

    let plain = format!("redis://127.0.0.1:{}", server.port);
    let error = refusal(json!({ "url": plain })).await;
    assert!(
        error
            .hint
            .as_deref()
            .is_some_and(|hint| hint.contains("rediss://")),
        "{error:?}"
    );
    let open = RedisServer::start(&[]);
    let tls = format!("rediss://127.0.0.1:{}", open.port);
    let error = refusal(json!({ "url": tls, "ca_cert": ca.ca_pem })).await;
    assert!(
        error
            .hint
            .as_deref()
            .is_some_and(|hint| hint.contains("redis://")),
        "{error:?}"
    );
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_certificate_for_another_name_needs_that_name() {
    let ca = TestCa::new();
    let (cert, key) = ca.issue("internal", &["redis.internal"]);
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let server = RedisServer::options()
        .tls(&ca)
        .args(&["--tls-cert-file", &cert, "--tls-key-file", &key])
        .start();
    let url = server.url();
    let error = refusal(json!({ "url": url, "ca_cert": ca.ca_pem })).await;
    assert_eq!(error.kind, SourceErrorKind::Login);
    assert!(error.why.contains("redis.internal"), "{error}");
    assert!(
        error
            .hint
            .is_some_and(|hint| hint.contains("tls_server_name"))
    );
    let named = |name: &str| json!({ "url": url, "ca_cert": ca.ca_pem, "tls_server_name": name });
    probe(named("redis.internal"))
        .await
        .expect("it has that name");
    let error = refusal(named("other.internal")).await;
    assert_eq!(error.kind, SourceErrorKind::Login, "{error}");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_server_may_ask_for_our_certificate() {
    let (ca, stranger) = (TestCa::new(), TestCa::new());
    let server = RedisServer::options().mutual_tls(&ca).start();
    let with = |(cert, key): (std::path::PathBuf, std::path::PathBuf)| {
        json!({
            "url": server.url(), "ca_cert": ca.ca_pem, "client_cert": cert, "client_key": key,
        })
    };
    probe(with(ca.issue("sidecar", &[])))
        .await
        .expect("it is known");
    let error = refusal(json!({ "url": server.url(), "ca_cert": ca.ca_pem })).await;
    assert_eq!(error.kind, SourceErrorKind::Login, "{error}");
    assert!(error.hint.is_some_and(|hint| hint.contains("client_cert")));
    let (cert, _) = ca.issue("one", &[]);
    let (_, key) = ca.issue("two", &[]);
    let error = refusal(with((cert, key))).await;
    assert_eq!(error.kind, SourceErrorKind::Login, "{error}");
    assert!(
        error
            .hint
            .is_some_and(|hint| hint.contains("belong together"))
    );
    let error = refusal(with(stranger.issue("sidecar", &[]))).await;
    assert_eq!(error.kind, SourceErrorKind::Login, "{error}");
    assert!(error.why.contains("client certificate"), "{error}");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_socket_is_as_good_as_a_port() {
    let server = RedisServer::options().unix_socket().start();
    let url = format!("unix://{}", server.socket().display());
    let seen = probe(json!({ "url": url })).await.expect("it answers");
    assert_eq!(seen.role, Role::Standalone);
    let error = refusal(json!({ "url": "unix:///nonexistent/redis.sock" })).await;
    assert_eq!(error.kind, SourceErrorKind::Unreachable);
    assert!(error.why.contains("there is no socket"), "{error}");
}
