use std::fs::File;
use std::path::Path;

use super::archive::{ArchiveVerifier, Expect};
use super::config::Product;
use super::facts;
use crate::source::{Check, Facts, Format, Position, SourceError, Stop, Verifier, prove};

/// The verifier of what `product` wrote; of any of them, if it is not known.
pub(super) fn verifier(product: Option<Product>) -> Box<dyn Verifier> {
    let expect = match product {
        None | Some(Product::Auto) => Expect::Any,
        Some(Product::Vault | Product::Openbao) => Expect::Sealed,
        Some(Product::Consul | Product::Nomad) => Expect::Unsealed,
    };
    Box::new(ArchiveVerifier::new(expect))
}

/// Raft snapshot archives.
#[derive(Debug)]
pub struct VaultFormat;

impl Format for VaultFormat {
    fn name(&self) -> &'static str {
        "vault"
    }

    fn extension(&self) -> &'static str {
        "snap"
    }

    fn forward(&self) -> Option<Box<dyn Verifier>> {
        Some(verifier(None))
    }

    fn verify_file(
        &self,
        path: &Path,
        facts: &Facts,
        stop: &Stop,
    ) -> Result<Vec<Check>, SourceError> {
        let file = File::open(path).map_err(|error| SourceError::io(path, &error))?;
        Ok(prove(file, path, verifier(product(facts)), stop)?.checks)
    }

    fn recognises(&self, head: &[u8]) -> bool {
        head.starts_with(&[0x1f, 0x8b])
    }

    fn describe(&self, facts: &Facts) -> Vec<Vec<Vec<String>>> {
        facts::describe(facts)
    }

    fn position(&self, facts: &Facts) -> Option<Position> {
        facts::position(facts)
    }

    fn manual_restore(&self, facts: &Facts) -> Vec<String> {
        let product = product(facts).unwrap_or(Product::Vault);
        let file = product.snapshot_file();
        let command = product.restore_command();
        let mut lines = vec![
            "gzip -t plain".to_owned(),
            format!("mv plain {file}"),
            format!("echo 'put it back with: {command} {file}'"),
        ];
        if !matches!(product, Product::Consul | Product::Nomad) {
            let cluster = facts
                .get("cluster_id")
                .and_then(serde_json::Value::as_str)
                // The line is run by a shell.
                .filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
                .map(|id| format!(" {id}"))
                .unwrap_or_default();
            lines.push(format!(
                "echo 'into another cluster: {command} -force {file}, with the old one stopped; then unseal with the keys of cluster{cluster}'"
            ));
        }
        lines
    }
}

fn product(facts: &Facts) -> Option<Product> {
    let name = facts.get("product")?.as_str()?;
    Some(Product::named(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(product: &str, cluster: &str) -> Facts {
        [("product", product), ("cluster_id", cluster)]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect()
    }

    #[test]
    fn each_product_is_put_back_by_its_own_command() {
        let cases = [
            ("vault", "vault operator raft snapshot restore vault.snap"),
            ("openbao", "bao operator raft snapshot restore vault.snap"),
            ("consul", "consul snapshot restore consul.snap"),
            ("nomad", "nomad operator snapshot restore nomad.snap"),
        ];
        for (product, command) in cases {
            let lines = VaultFormat.manual_restore(&facts(product, "")).join("\n");
            assert!(lines.contains(command), "{lines}");
        }
        assert!(VaultFormat.manual_restore(&Facts::new())[2].contains("vault operator"));
    }

    #[test]
    fn the_keys_needed_are_named_by_their_cluster() {
        let lines = VaultFormat.manual_restore(&facts("vault", "efd2fb1b-1021"));
        assert!(
            lines[3].contains("keys of cluster efd2fb1b-1021'"),
            "{lines:?}"
        );
    }

    #[test]
    fn a_strange_cluster_id_is_no_part_of_a_shell_line() {
        let lines = VaultFormat
            .manual_restore(&facts("vault", "'; rm -rf /; '"))
            .join("\n");
        assert!(!lines.contains("rm -rf"), "{lines}");
    }
}
