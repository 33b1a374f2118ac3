#!/bin/sh
# Initialises and unseals a development Vault, and makes an AppRole for Lifeboat. May run again.
#
#   KEYS    folder that keeps the unseal key and the root token (/keys)
#   LOGIN   folder for what Lifeboat logs in with (/login)
#   POLICY  Lifeboat's policy (/lifeboat.hcl)
set -eu
keys=${KEYS:-/keys}
login=${LOGIN:-/login}
policy=${POLICY:-/lifeboat.hcl}

if [ ! -s "$keys/init" ]; then
    umask 077
    vault operator init -key-shares=1 -key-threshold=1 >"$keys/init.part"
    mv "$keys/init.part" "$keys/init"
fi
unseal_key=$(sed -n 's/^Unseal Key 1: //p' "$keys/init")
VAULT_TOKEN=$(sed -n 's/^Initial Root Token: //p' "$keys/init")
export VAULT_TOKEN
vault operator unseal "$unseal_key" >/dev/null
until vault token lookup >/dev/null 2>&1; do sleep 1; done

vault policy write lifeboat "$policy"
vault auth list | grep -q '^approle/' || vault auth enable approle
vault write auth/approle/role/lifeboat token_policies=lifeboat token_ttl=1h token_max_ttl=24h
umask 022
vault read -field=role_id auth/approle/role/lifeboat/role-id >"$login/role-id"
vault write -field=secret_id -force auth/approle/role/lifeboat/secret-id >"$login/secret-id"
echo "Vault is unsealed, and Lifeboat can log in"
