//! `faultline up`: the service, until it is told to stop.

use crate::cli::{Common, Up};
use crate::client::{Beacon, sources, wrong_settings};
use crate::failure::{Exit, Failure};
use crate::service::{self, Service};
use crate::settings::{Settings, serving};

pub fn run(common: &Common, arguments: &Up) -> Result<Exit, Failure> {
    if common.server.is_some() {
        let next = "without --server, `faultline up` starts a service here";
        return Err(Failure::new(Exit::WrongUse, "--server names a service that runs already", next));
    }
    let mut sources = sources(common);
    sources.flags.extend(arguments.listen.iter().map(|listen| ("http.listen", listen.clone())));
    let layers = sources.load().and_then(|layers| serving(&layers).map(|()| layers)).map_err(|error| wrong_settings(&error))?;
    let settings = Settings::of(&layers);
    service::log_to_stderr(&settings);
    let fails = |error: &(dyn std::error::Error + 'static)| Failure::of(Exit::Failed, error, "");
    let service = Service::open(&settings).map_err(|error| fails(&error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|error| fails(&error))?;
    let folder = settings.data_folder.clone();
    let served = runtime.block_on(async {
        service
            .serve(&settings, move |url| {
                eprintln!("faultline listens at {url}; its data is in {}", folder.display());
                Beacon::light(&folder, url.to_owned())
            })
            .await
    });
    drop(runtime);
    let stopped = service.stop();
    served.map_err(|error| fails(&error))?;
    stopped.map_err(|error| fails(&error))?;
    eprintln!("faultline has stopped; nothing is lost");
    Ok(Exit::Done)
}
