//! `faultline up` and `faultline run`: the service or a part of it, until it is told to stop.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::cli::{Common, Run, Up};
use crate::client::{Beacon, sources, wrong_settings};
use crate::failure::{Exit, Failure, say_aside};
use crate::service::{self, Roles, Service};
use crate::settings::{Settings, serving};

pub fn up(common: &Common, arguments: &Up) -> Result<Exit, Failure> {
    if common.server.is_some() {
        let next = "without --server, `faultline up` starts a service here";
        return Err(Failure::new(Exit::WrongUse, "--server names a service that runs already", next));
    }
    serve(common, arguments.listen.as_deref(), &Roles::all(), false)
}

pub fn run(common: &Common, arguments: &Run) -> Result<Exit, Failure> {
    if common.server.is_some() {
        let next = "without --server, `faultline run` starts a part of the service here";
        return Err(Failure::new(Exit::WrongUse, "--server names a service that runs already", next));
    }
    serve(common, arguments.listen.as_deref(), &Roles::of(&arguments.roles), true)
}

fn serve(common: &Common, listen: Option<&str>, roles: &Roles, needs_kafka: bool) -> Result<Exit, Failure> {
    let mut sources = sources(common);
    sources.flags.extend(listen.iter().map(|listen| ("http.listen", (*listen).to_owned())));
    let layers = sources.load().and_then(|layers| serving(&layers, roles).map(|()| layers)).map_err(|error| wrong_settings(&error))?;
    let settings = Settings::of(&layers);
    if needs_kafka && settings.kafka.is_none() {
        let next = "set kafka.bootstrap (FAULTLINE__KAFKA__BOOTSTRAP); `faultline up` runs all of it embedded";
        return Err(Failure::new(Exit::WrongUse, "parts of the service find each other through Kafka, and kafka.bootstrap is empty", next));
    }
    service::log_to_stderr(&settings);
    let fails = |error: &(dyn std::error::Error + 'static)| Failure::of(Exit::Failed, error, "");
    let service = Service::open(&settings, roles, true).map_err(|error| fails(&error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|error| fails(&error))?;
    let folder = settings.data_folder.clone();
    let is_open_here = settings.token.is_none() && !common.quiet;
    let served = runtime.block_on(async {
        let begun = move |url: Option<&str>| {
            let data = folder.display();
            match (url, needs_kafka) {
                (Some(url), false) => say_aside(&format!("faultline listens at {url}; its data is in {data}")),
                (Some(url), true) => say_aside(&format!("faultline ({roles}) listens at {url}; what it keeps is in {data}")),
                (None, _) => say_aside(&format!("faultline ({roles}) works; what it keeps is in {data}")),
            }
            if url.is_some() && is_open_here {
                say_aside(
                    "note: without http.token whoever is on this machine is its operator, in any name: separation of duties rests on trust (docs/access.md)",
                );
            }
            url.map(|url| Beacon::light(&folder, url.to_owned())).transpose()
        };
        service.serve(&settings, begun).await
    });
    let bounded = Bounded::new(settings.stop_timeout).map_err(|error| fails(&error))?;
    drop(runtime);
    let stopped = service.stop();
    served.map_err(|error| fails(&error))?;
    stopped.map_err(|error| fails(&error))?;
    say_aside("faultline has stopped; nothing is lost");
    drop(bounded);
    Ok(Exit::Done)
}

/// How long the last word may take.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Ends the process if a stop takes too long: what was not committed is done again at the next start.
struct Bounded {
    ended: std::sync::mpsc::Sender<()>,
}

impl Bounded {
    fn new(bound: Duration) -> std::io::Result<Self> {
        let (ended, hears) = channel();
        std::thread::Builder::new().name("stop".to_owned()).spawn(move || {
            if hears.recv_timeout(bound) == Err(RecvTimeoutError::Timeout) {
                let (says, said) = channel();
                // Who reads it may stand still.
                std::thread::spawn(move || {
                    say_aside(
                        "error: the stop took longer than stream.stop_timeout; it ends here, and what was not committed is done again",
                    );
                    let _ = says.send(());
                });
                let _ = said.recv_timeout(LAST_WORD);
                std::process::exit(Exit::Failed as i32);
            }
        })?;
        Ok(Self { ended })
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        // Nobody listens any more if the bound is over, and then the process ends.
        let _ = self.ended.send(());
    }
}
