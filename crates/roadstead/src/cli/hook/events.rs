//! `roadstead hook events`: what was posted, the oldest first, and then as it comes.
//!
//! Little is read that is not shown: the event before the first wanted one tells the position in the log from which to watch. Only
//! when that event is gone are the retained ones listed.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::{StreamExt, TryStreamExt};
use kube::ResourceExt;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::TypeMeta;
use roadstead_api::names::event_name;

use super::{Event, endpoints_api, event_kind, events_api};
use crate::cli::connect::Plane;
use crate::cli::output::{Format, Output, cell, emit, line, resource_name};

/// Pause before a watch that ended is opened anew.
const PAUSE: Duration = Duration::from_secs(1);

/// Arguments of `hook events`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the endpoint.
    name: String,
    /// Go on showing what comes, until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// How many of the last events to show.
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    last: u64,
}

/// Where reading begins.
struct Start {
    /// What is known already, oldest first.
    events: Vec<Event>,
    /// Position after which to watch.
    position: String,
    /// Sequence up to which to read if nobody wants to follow.
    until: u64,
}

/// Prints events, oldest first.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    let mut printer = Printer { output, shown: 0 };
    loop {
        let start = begin(&args, plane).await?;
        for event in &start.events {
            printer.print(event)?;
        }
        let complete = !args.follow && (start.until == 0 || printer.shown >= start.until);
        if complete || !watch(&args, plane, start, &mut printer).await? {
            return printer.end();
        }
        eprintln!("some events were removed from the log before they could be shown");
    }
}

async fn begin(args: &Args, plane: &Plane) -> Result<Start> {
    let status = endpoints_api(plane).get(&args.name).await?.status.unwrap_or_default();
    let api = events_api(plane);
    let is_there = async |sequence| Ok(api.get_metadata_opt(&event_name(&args.name, sequence)).await?.is_some());
    let newest = newest(status.sequence, is_there).await?;
    if let Some(before) = newest.checked_sub(args.last).filter(|before| *before > 0)
        && let Some(event) = api.get_opt(&event_name(&args.name, before)).await?
    {
        let position = event.resource_version().unwrap_or_default();
        return Ok(Start { events: Vec::new(), position, until: newest });
    }
    let keep = usize::try_from(args.last).unwrap_or(usize::MAX);
    let (mut events, mut params) = (VecDeque::new(), ListParams::default().fields(&selector(&args.name)).limit(500));
    loop {
        let page = api.list(&params).await?;
        for event in page.items {
            events.push_back(event);
            if events.len() > keep {
                events.pop_front();
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => {
                let position = page.metadata.resource_version.unwrap_or_default();
                return Ok(Start { events: events.into(), position, until: 0 });
            }
        }
    }
}

/// The sequence of the newest event, given one that is not beyond it: a status is written a little later than the log. Sequences
/// have no gaps, and only the oldest are ever removed.
async fn newest(known: u64, is_there: impl AsyncFn(u64) -> Result<bool>) -> Result<u64> {
    let (mut low, mut step) = (known, 1);
    while is_there(low + step).await? {
        low += step;
        step *= 2;
    }
    let mut beyond = low + step;
    while beyond - low > 1 {
        let middle = low + (beyond - low) / 2;
        if is_there(middle).await? {
            low = middle;
        } else {
            beyond = middle;
        }
    }
    Ok(low)
}

/// Prints what the watch brings. Ends with false when all that was wanted is printed, with true when the position is gone.
async fn watch(args: &Args, plane: &Plane, start: Start, printer: &mut Printer) -> Result<bool> {
    let (api, mut position) = (events_api(plane), start.position);
    let params = WatchParams::default().fields(&selector(&args.name));
    loop {
        let mut stream = match api.watch(&params, &position).await {
            Ok(stream) => stream.boxed(),
            Err(kube::Error::Api(status)) if status.code == 410 => return Ok(true),
            Err(error) if printer.shown == 0 || matches!(error, kube::Error::Api(_)) => return Err(error.into()),
            Err(_) => futures::stream::empty().boxed(),
        };
        while let Ok(Some(event)) = stream.try_next().await {
            match event {
                WatchEvent::Added(event) | WatchEvent::Modified(event) => {
                    position = event.resource_version().unwrap_or(position);
                    printer.print(&event)?;
                    if !args.follow && printer.shown >= start.until {
                        return Ok(false);
                    }
                }
                WatchEvent::Bookmark(bookmark) => position = bookmark.metadata.resource_version,
                WatchEvent::Deleted(_) => {}
                WatchEvent::Error(status) if status.code == 410 => return Ok(true),
                WatchEvent::Error(status) => bail!("the watch ended: {}", status.message),
            }
        }
        // Watches end now and then, by themselves or because the hub restarts; this one goes on where it was.
        tokio::time::sleep(PAUSE).await;
    }
}

fn selector(endpoint: &str) -> String {
    format!("spec.endpoint={endpoint}")
}

/// Prints events as they come: a table of fixed widths, JSON lines, or YAML documents.
struct Printer {
    output: Output,
    /// Sequence of the last printed event; 0 before the first.
    shown: u64,
}

const HEADER: [&str; 5] = ["SEQUENCE", "RECEIVED", "TYPE", "SUBJECT", "ID"];
const WIDTHS: [usize; 5] = [8, 27, 16, 36, 0];

impl Printer {
    /// Prints one event, unless it was printed already: a listing after a gap may bring it again.
    fn print(&mut self, event: &Event) -> Result<()> {
        if event.spec.sequence <= self.shown {
            return Ok(());
        }
        let text = self.render(event)?;
        self.shown = event.spec.sequence;
        emit(&text)
    }

    fn render(&self, event: &Event) -> Result<String> {
        let kind = event_kind();
        let whole = || {
            let types = TypeMeta { api_version: kind.api_version.clone(), kind: kind.kind.clone() };
            Event { types: Some(types), ..event.clone() }
        };
        Ok(match self.output.format {
            Format::Json => serde_json::to_string(&whole())? + "\n",
            Format::Yaml => format!("---\n{}", serde_saphyr::to_string(&whole())?),
            Format::Name => format!("{}\n", resource_name(event, &kind)),
            Format::Table => {
                let spec = &event.spec;
                let cells = [&spec.sequence.to_string(), &spec.received_at, &spec.kind, &spec.subject(), &spec.id]
                    .map(|c| cell(c));
                let header = if self.shown == 0 { line(&HEADER.map(String::from), &WIDTHS) } else { String::new() };
                header + &line(&cells, &WIDTHS)
            }
        })
    }

    fn end(&self) -> Result<()> {
        if self.shown == 0 && self.output.format == Format::Table {
            eprintln!("no events");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use roadstead_api::WebhookEventSpec;

    use super::*;

    #[tokio::test]
    async fn the_newest_event_is_found_however_late_the_status_is() {
        for last in 0..40 {
            for known in 0..=last {
                assert_eq!(newest(known, async |n| Ok(n <= last)).await.unwrap(), last, "from {known}");
            }
        }
        assert!(newest(7, async |_| bail!("not reached")).await.is_err());
    }

    #[test]
    fn the_header_comes_once_and_nothing_breaks_a_line() {
        let spec = WebhookEventSpec { sequence: 7, kind: "pu\nsh".into(), id: "x".into(), ..Default::default() };
        let event = Event::new("shop-7", &event_kind(), spec);
        let first = Printer { output: Output::default(), shown: 0 }.render(&event).unwrap();
        assert!(first.starts_with("SEQUENCE   RECEIVED") && first.contains("pu sh") && first.lines().count() == 2);
        let later = Printer { output: Output::default(), shown: 6 }.render(&event).unwrap();
        assert_eq!(later.lines().count(), 1);
        let json = Printer { output: Output { format: Format::Json }, shown: 0 }.render(&event).unwrap();
        assert!(json.contains("\"kind\":\"WebhookEvent\"") && json.lines().count() == 1);
    }
}
