use url::Url;

/// A standby names the leader; what names a second and a third is still let through.
const MOST: usize = 3;

/// Where one request has been, and where it may go on to. Wherever that is, our token goes too.
#[derive(Debug)]
pub(super) struct Trail {
    seen: Vec<Url>,
    allowed: Vec<Url>,
}

/// Why a redirect is not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// Another origin than those we know.
    Foreign(Url),
    /// The answer, in words.
    Wrong(String),
}

impl Trail {
    /// A request to `start`, which may be sent on to the origins of `allowed`.
    pub(super) fn new(start: Url, allowed: Vec<Url>) -> Self {
        Self {
            seen: vec![start],
            allowed,
        }
    }

    pub(super) fn here(&self) -> &Url {
        self.seen.last().expect("a trail begins somewhere")
    }

    pub(super) fn allow(&mut self, origin: Url) {
        self.allowed.push(origin);
    }

    /// Goes where `location` points, if it may.
    pub(super) fn follow(&mut self, location: Option<&str>) -> Result<(), Refused> {
        let wrong = |why: String| Err(Refused::Wrong(why));
        let Some(next) = location.and_then(|location| self.here().join(location).ok()) else {
            return wrong("does not say where to".into());
        };
        let shown = shown(&next);
        if !matches!(next.scheme(), "http" | "https") || next.host().is_none() {
            return wrong(format!("leads to {shown}, which is no web address"));
        }
        if self.seen.contains(&next) {
            return wrong(format!("leads back to {shown}: a loop"));
        }
        if self.seen.len() > MOST {
            return wrong(format!("leads on to {shown} after {MOST} redirects"));
        }
        if self.here().scheme() == "https" && next.scheme() == "http" {
            return wrong(format!(
                "leads from https to {shown}, where the token would be readable on its way"
            ));
        }
        if !self
            .allowed
            .iter()
            .chain(self.seen.first())
            .any(|known| known.origin() == next.origin())
        {
            return Err(Refused::Foreign(next));
        }
        let mut next = next;
        next.set_fragment(None);
        // What stands there is no login of ours.
        let _ = next.set_username("");
        let _ = next.set_password(None);
        self.seen.push(next);
        Ok(())
    }
}

/// Without what may be secret.
pub(super) fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/v1/sys/storage/raft/snapshot";

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    fn trail(start: &str, leader: &str) -> Trail {
        Trail::new(url(start).join(PATH).unwrap(), vec![url(leader)])
    }

    fn why(refused: Result<(), Refused>) -> String {
        match refused.unwrap_err() {
            Refused::Wrong(why) => why,
            Refused::Foreign(url) => format!("foreign {}", shown(&url)),
        }
    }

    #[test]
    fn a_standby_leads_to_the_leader() {
        let mut trail = trail("https://a:8200", "https://b:8200/");
        trail
            .follow(Some(&format!("https://b:8200{PATH}")))
            .unwrap();
        assert_eq!(trail.here().as_str(), format!("https://b:8200{PATH}"));
    }

    #[test]
    fn a_relative_location_stays_at_its_origin() {
        let mut trail = trail("https://a:8200", "https://b:8200");
        trail.follow(Some("/v1/elsewhere")).unwrap();
        assert_eq!(trail.here().as_str(), "https://a:8200/v1/elsewhere");
    }

    #[test]
    fn nothing_leads_from_https_to_http() {
        let mut trail = trail("https://a:8200", "http://b:8200");
        let why = why(trail.follow(Some("http://b:8200/v1")));
        assert!(why.contains("from https to http://b:8200/v1"), "{why}");
    }

    #[test]
    fn an_upgrade_to_https_is_for_the_leader_only() {
        let mut known = trail("http://127.0.0.1:8200", "https://b:8200");
        assert_eq!(known.follow(Some("https://b:8200/v1")), Ok(()));
        let mut foreign = trail("http://127.0.0.1:8200", "https://b:8200");
        let why = why(foreign.follow(Some("https://c:8200/v1")));
        assert_eq!(why, "foreign https://c:8200/v1");
    }

    #[test]
    fn another_port_is_another_origin_until_it_is_known() {
        let mut trail = trail("https://a:8200", "https://b:8200");
        let refused = trail.follow(Some("https://b:8201/v1"));
        assert_eq!(refused, Err(Refused::Foreign(url("https://b:8201/v1"))));
        trail.allow(url("https://b:8201"));
        assert_eq!(trail.follow(Some("https://b:8201/v1")), Ok(()));
    }

    #[test]
    fn a_loop_is_named() {
        let mut trail = trail("https://a:8200", "https://b:8200");
        trail
            .follow(Some(&format!("https://b:8200{PATH}")))
            .unwrap();
        let why = why(trail.follow(Some(&format!("https://a:8200{PATH}"))));
        assert!(why.ends_with(": a loop") && why.contains("a:8200"), "{why}");
    }

    #[test]
    fn three_are_enough() {
        let mut trail = trail("https://a:8200", "https://b:8200");
        for path in ["/1", "/2", "/3"] {
            trail.follow(Some(path)).unwrap();
        }
        assert!(why(trail.follow(Some("/4"))).contains("after 3 redirects"));
    }

    #[test]
    fn a_redirect_to_nowhere_is_refused() {
        let mut trail = trail("https://a:8200", "https://b:8200");
        assert_eq!(why(trail.follow(None)), "does not say where to");
        assert!(why(trail.follow(Some("file:///etc/passwd"))).contains("no web address"));
    }

    #[test]
    fn a_location_loses_its_login_and_its_query_is_not_shown() {
        let mut trail = trail("https://a:8200", "https://b:8200");
        trail.follow(Some("https://me:pw@b:8200/v1")).unwrap();
        assert_eq!(trail.here().as_str(), "https://b:8200/v1");
        let why = why(trail.follow(Some("https://c/v1?token=hunter2")));
        assert!(!why.contains("hunter2"), "{why}");
    }
}
