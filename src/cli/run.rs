use tokio_util::sync::CancellationToken;

use super::args::RunArgs;
use super::session::{Session, on_signals, ready};
use crate::daemon;
use crate::error::Error;
use crate::exit::Exit;

pub(super) async fn run(session: &Session, _args: RunArgs) -> Result<Exit, Error> {
    // First of all: as process 1 of a container nothing else would end us.
    let (closing, hurry) = (CancellationToken::new(), CancellationToken::new());
    on_signals(closing.clone(), hurry.clone())?;
    let loaded = session.load()?;
    let jobs = tokio::select! {
        jobs = session.jobs(&loaded.config, &[]) => jobs?,
        () = closing.cancelled() => return Ok(Exit::Ok),
    };
    ready(&jobs)?;
    tracing::info!(
        "lifeboat {} started: {}",
        env!("CARGO_PKG_VERSION"),
        match jobs.len() {
            1 => "1 job".to_owned(),
            n => format!("{n} jobs"),
        }
    );
    if let Some(drop_in) = &loaded.drop_in {
        let title = drop_in.title();
        tracing::info!("{title} were understood; `lifeboat config show` prints what came out");
    }
    Ok(daemon::serve(jobs, loaded.config.grace.0, closing, hurry).await)
}
