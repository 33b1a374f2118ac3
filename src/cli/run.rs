use tokio_util::sync::CancellationToken;

use super::args::RunArgs;
use super::session::{Session, on_signals};
use crate::daemon;
use crate::error::Error;
use crate::exit::Exit;

pub(super) async fn run(session: &Session, _args: RunArgs) -> Result<Exit, Error> {
    let loaded = session.load()?;
    let jobs = session.jobs(&loaded.config, &[]).await?;
    let (closing, hurry) = (CancellationToken::new(), CancellationToken::new());
    on_signals(closing.clone(), hurry.clone())?;
    tracing::info!(
        "lifeboat {} started: {}",
        env!("CARGO_PKG_VERSION"),
        match jobs.len() {
            1 => "1 job".to_owned(),
            n => format!("{n} jobs"),
        }
    );
    Ok(daemon::serve(jobs, loaded.config.grace.0, closing, hurry).await)
}
