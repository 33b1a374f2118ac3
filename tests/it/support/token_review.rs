//! The one path of the Kubernetes API that Vault's `kubernetes` login asks: is this token good?

use serde_json::{Value, json};

use super::tls::TestCa;
use super::vault_answers::Answer;
use super::vault_double::{SeenRequest, VaultDouble};

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";
const ACCOUNT_UID: &str = "d77f89bc-9055-11e7-a068-0800276d99bf";
/// In the year 2100.
const EXPIRY: u64 = 4_102_444_800;

/// The API server; dropping it closes all its connections.
pub struct TokenReviewServer {
    /// The authority that signed its certificate.
    pub ca: TestCa,
    double: VaultDouble,
}

impl TokenReviewServer {
    /// Starts a server that knows every token as that of this service account.
    pub fn start(namespace: &str, account: &str) -> TokenReviewServer {
        let ca = TestCa::new();
        let double = VaultDouble::start_tls(&ca);
        let server = TokenReviewServer { ca, double };
        server.answer(&json!({
            "authenticated": true,
            // Vault takes an answer without these for that of a server that ignores audiences.
            "audiences": [AUDIENCE],
            "user": {
                "username": format!("system:serviceaccount:{namespace}:{account}"),
                "uid": ACCOUNT_UID,
                "groups": ["system:serviceaccounts", "system:authenticated"],
            },
        }));
        server
    }

    /// From now on no token is good.
    pub fn reject(&self) {
        self.answer(&json!({ "authenticated": false, "error": "invalid bearer token" }));
    }

    /// `https://127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.double.address()
    }

    /// The requests that came, whose bodies hold the tokens asked about.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.double.requests()
    }

    fn answer(&self, status: &Value) {
        let review = json!({
            "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {}, "spec": {}, "status": status,
        });
        self.double
            .on_path("POST", PATH, [Answer::json(201, &review)]);
    }
}

/// A token like those mounted into pods. Its signature is none: only the API server checks that.
pub fn service_account_token(namespace: &str, account: &str) -> String {
    let header = json!({ "alg": "RS256", "kid": "test" });
    let claims = json!({
        "aud": [AUDIENCE], "iss": AUDIENCE, "exp": EXPIRY, "iat": 1_700_000_000,
        "nbf": 1_700_000_000, "sub": format!("system:serviceaccount:{namespace}:{account}"),
        "kubernetes.io": {
            "namespace": namespace,
            "serviceaccount": { "name": account, "uid": ACCOUNT_UID },
        },
    });
    let part = |value: Value| base64_url(value.to_string().as_bytes());
    format!(
        "{}.{}.{}",
        part(header),
        part(claims),
        base64_url(&[7; 256])
    )
}

/// Without padding, as in tokens.
fn base64_url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..=group.len() {
            let index = bits >> (18 - 6 * digit) & 63;
            text.push(char::from(DIGITS[index as usize]));
        }
    }
    text
}
