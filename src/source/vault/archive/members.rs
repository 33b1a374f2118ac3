use super::meta::Meta;
use super::state::Walk;
use super::sums::{Hasher, Sums};
use super::{Check, Expect, Facts, SourceError};

/// Servers stop at 8 KiB, which is less than the description of a large cluster takes.
const META_LIMIT: u64 = 64 * 1024;

/// Two lines take 152 bytes, their sealed form a little more. Servers stop at 8 KiB, too.
const SUMS_LIMIT: u64 = 8 * 1024;

/// A file that an archive may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    Meta,
    State,
    Sums,
    Sealed,
}

impl Member {
    const ALL: [Member; 4] = [Member::Meta, Member::State, Member::Sums, Member::Sealed];

    fn name(self) -> &'static str {
        match self {
            Member::Meta => "meta.json",
            Member::State => "state.bin",
            Member::Sums => "SHA256SUMS",
            Member::Sealed => "SHA256SUMS.sealed",
        }
    }

    /// The member of this name.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|member| member.name().as_bytes() == name)
    }

    fn limit(self) -> u64 {
        match self {
            Member::Meta => META_LIMIT,
            Member::State => u64::MAX,
            Member::Sums | Member::Sealed => SUMS_LIMIT,
        }
    }
}

/// Takes the members in whatever order they come, and compares them at the end.
#[derive(Clone)]
pub(super) struct Members {
    expect: Expect,
    open: Option<Open>,
    meta: Option<(Meta, String)>,
    state: Option<State>,
    sums: Option<Sums>,
    /// Bytes of the sealed sums.
    sealed: Option<u64>,
}

/// What all members together prove.
#[derive(Debug)]
pub(super) struct Contents {
    /// The members' names.
    pub names: String,
    pub checks: Vec<Check>,
    pub facts: Facts,
}

/// The member that is being read.
#[derive(Clone)]
enum Open {
    Meta(Vec<u8>),
    State(Box<OpenState>),
    Sums(Vec<u8>),
    Sealed,
}

#[derive(Clone)]
struct OpenState {
    hasher: Hasher,
    /// The walk through it, as long as it succeeds.
    walk: Result<Walk, SourceError>,
    bytes: u64,
}

#[derive(Debug, Clone)]
struct State {
    bytes: u64,
    sha256: String,
    entries: Result<Entries, SourceError>,
}

/// What a state of storage entries holds.
#[derive(Debug, Clone)]
struct Entries {
    summary: String,
    facts: Facts,
}

impl Members {
    pub(super) fn new(expect: Expect) -> Self {
        Self {
            expect,
            open: None,
            meta: None,
            state: None,
            sums: None,
            sealed: None,
        }
    }

    /// The next member, of `size` bytes.
    pub(super) fn begin(&mut self, name: &[u8], size: u64) -> Result<(), SourceError> {
        let Some(member) = Member::named(name) else {
            return Err(SourceError::damaged(format!(
                "the snapshot has a member `{}`, which does not belong there",
                name.escape_ascii()
            )));
        };
        let name = member.name();
        if self.has(member) {
            return Err(SourceError::damaged(format!(
                "the snapshot has {name} twice"
            )));
        }
        if size > member.limit() {
            return Err(SourceError::damaged(format!(
                "{name} is damaged: it has {size} bytes"
            )));
        }
        self.open = Some(match member {
            Member::Meta => Open::Meta(Vec::new()),
            Member::State => {
                self.check_size(size)?;
                Open::State(Box::new(OpenState {
                    hasher: Hasher::new(),
                    walk: Ok(Walk::new()),
                    bytes: 0,
                }))
            }
            Member::Sums => Open::Sums(Vec::new()),
            Member::Sealed => {
                if self.expect == Expect::Unsealed {
                    return Err(SourceError::damaged(
                        "the snapshot has a SHA256SUMS.sealed, which only Vault and OpenBao write",
                    ));
                }
                if size == 0 {
                    return Err(SourceError::damaged("SHA256SUMS.sealed is empty"));
                }
                self.sealed = Some(size);
                Open::Sealed
            }
        });
        Ok(())
    }

    /// The next bytes of the present member.
    pub(super) fn data(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        match &mut self.open {
            Some(Open::Meta(text) | Open::Sums(text)) => text.extend_from_slice(bytes),
            Some(Open::State(state)) => {
                state.hasher.update(bytes);
                state.bytes += bytes.len() as u64;
                if let Ok(walk) = &mut state.walk
                    && self.expect != Expect::Unsealed
                    && let Err(error) = walk.update(bytes)
                {
                    if self.expect == Expect::Sealed {
                        return Err(error);
                    }
                    state.walk = Err(error);
                }
            }
            Some(Open::Sealed) | None => {}
        }
        Ok(())
    }

    /// The end of the present member.
    pub(super) fn end(&mut self) -> Result<(), SourceError> {
        match self.open.take() {
            Some(Open::Meta(json)) => {
                let meta = Meta::parse(&json)?;
                let mut hasher = Hasher::new();
                hasher.update(&json);
                self.meta = Some((meta, hasher.finish()));
                if let Some(state) = &self.state {
                    self.check_size(state.bytes)?;
                }
            }
            Some(Open::State(state)) => {
                let entries = state.walk.and_then(|walk| {
                    let total = walk.total();
                    Ok(Entries {
                        summary: format!("{} entries, {} bytes", total.count, total.bytes),
                        facts: walk.finish()?,
                    })
                });
                self.state = Some(State {
                    bytes: state.bytes,
                    sha256: state.hasher.finish(),
                    entries,
                });
            }
            Some(Open::Sums(text)) => self.sums = Some(Sums::parse(&text)?),
            Some(Open::Sealed) | None => {}
        }
        Ok(())
    }

    /// The end of the archive.
    pub(super) fn finish(self) -> Result<Contents, SourceError> {
        let names: Vec<&str> = Member::ALL
            .into_iter()
            .filter(|&member| self.has(member))
            .map(Member::name)
            .collect();
        let names = names.join(", ");
        let sealed = self.sealed;
        let (meta, meta_sha256) = self.meta.ok_or_else(|| missing(Member::Meta))?;
        let state = self.state.ok_or_else(|| missing(Member::State))?;
        let sums = self.sums.ok_or_else(|| missing(Member::Sums))?;
        for (member, listed, found) in [
            (Member::Meta, &sums.meta, &meta_sha256),
            (Member::State, &sums.state, &state.sha256),
        ] {
            if listed != found {
                return Err(SourceError::damaged(format!(
                    "{} is damaged: SHA256SUMS lists {listed}, its contents give {found}",
                    member.name()
                )));
            }
        }
        let entries = match (self.expect, state.entries, sealed) {
            (Expect::Unsealed, ..) | (Expect::Any, Err(_), None) => None,
            (_, Ok(entries), Some(_)) => Some(entries),
            (_, Ok(_), None) => return Err(missing(Member::Sealed)),
            (_, Err(error), _) => return Err(error),
        };
        let mut checks = vec![
            Check::ok("meta", meta.summary()),
            Check::ok(
                "sha256",
                format!("meta.json and state.bin {}", state.sha256),
            ),
        ];
        let mut facts = meta.facts();
        facts.insert("state_bytes".into(), state.bytes.into());
        facts.insert("state_sha256".into(), state.sha256.into());
        if let Some(entries) = entries {
            checks.push(Check::ok("entries", entries.summary));
            facts.extend(entries.facts);
        }
        Ok(Contents {
            names,
            checks,
            facts,
        })
    }

    fn has(&self, member: Member) -> bool {
        match member {
            Member::Meta => self.meta.is_some(),
            Member::State => self.state.is_some(),
            Member::Sums => self.sums.is_some(),
            Member::Sealed => self.sealed.is_some(),
        }
    }

    fn check_size(&self, bytes: u64) -> Result<(), SourceError> {
        match &self.meta {
            Some((meta, _)) if meta.size != bytes => Err(SourceError::damaged(format!(
                "state.bin has {bytes} bytes, and meta.json says {}",
                meta.size
            ))),
            _ => Ok(()),
        }
    }
}

fn missing(member: Member) -> SourceError {
    SourceError::damaged(format!("the snapshot has no {}", member.name()))
}
