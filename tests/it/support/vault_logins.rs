//! Ways to log in to a Vault cluster. Each gives a token that may read snapshots, and nothing else.

use std::fs;

use serde_json::{Value, json};

use super::ldap::LdapServer;
use super::token_review::TokenReviewServer;
use super::vault_cluster::VaultCluster;
use super::vault_use::text;

impl VaultCluster {
    /// Enables AppRole at `mount` with the role `lifeboat`, which has the snapshot policy and these
    /// settings, such as `{"token_ttl": "2s"}`. Returns its role id and a secret id.
    pub fn enable_approle(&self, mount: &str, settings: &Value) -> (String, String) {
        let policy = self.snapshot_policy();
        self.enable_auth("approle", mount);
        let role = format!("auth/{mount}/role/lifeboat");
        let mut fields = json!({ "token_policies": [policy] });
        for (key, value) in settings.as_object().expect("settings are a JSON object") {
            fields[key] = value.clone();
        }
        self.api("POST", &role, &fields);
        let role_id = self.api("GET", &format!("{role}/role-id"), &Value::Null);
        let secret_id = self.api("POST", &format!("{role}/secret-id"), &json!({}));
        (
            text(&role_id["data"]["role_id"]),
            text(&secret_id["data"]["secret_id"]),
        )
    }

    /// Enables logins with a user name and a password that Vault itself keeps.
    pub fn enable_userpass(&self, mount: &str, user: &str, password: &str) {
        let policy = self.snapshot_policy();
        self.enable_auth("userpass", mount);
        let fields = json!({ "password": password, "token_policies": [policy] });
        self.api("POST", &format!("auth/{mount}/users/{user}"), &fields);
    }

    /// Enables logins of the user of a directory.
    pub fn enable_ldap(&self, mount: &str, server: &LdapServer) {
        let policy = self.snapshot_policy();
        self.enable_auth("ldap", mount);
        let config = json!({
            "url": server.url, "userdn": LdapServer::PEOPLE, "userattr": "uid",
            "token_policies": [policy],
        });
        self.api("POST", &format!("auth/{mount}/config"), &config);
    }

    /// Enables logins of a Kubernetes service account, with the role `lifeboat`.
    pub fn enable_kubernetes(
        &self,
        mount: &str,
        server: &TokenReviewServer,
        namespace: &str,
        account: &str,
    ) {
        let policy = self.snapshot_policy();
        self.enable_auth("kubernetes", mount);
        let config = json!({
            "kubernetes_host": server.address(), "kubernetes_ca_cert": server.ca.pem(),
            "token_reviewer_jwt": super::token_review::service_account_token("vault", "reviewer"),
            "disable_local_ca_jwt": true,
        });
        self.api("POST", &format!("auth/{mount}/config"), &config);
        let role = json!({
            "bound_service_account_names": [account],
            "bound_service_account_namespaces": [namespace],
            "token_policies": [policy],
        });
        self.api("POST", &format!("auth/{mount}/role/lifeboat"), &role);
    }

    /// Enables logins with client certificates that the authority in this PEM file has signed,
    /// with the role `lifeboat`. The nodes must speak TLS.
    pub fn enable_cert(&self, mount: &str, ca: &std::path::Path) {
        let policy = self.snapshot_policy();
        self.enable_auth("cert", mount);
        let pem = fs::read_to_string(ca).expect("a certificate can be read");
        let role = json!({ "certificate": pem, "token_policies": [policy] });
        self.api("POST", &format!("auth/{mount}/certs/lifeboat"), &role);
    }

    fn enable_auth(&self, kind: &str, mount: &str) {
        let fields = json!({ "type": kind });
        self.api("POST", &format!("sys/auth/{mount}"), &fields);
    }
}
