//! `telemetry::Traced`: levels that let people sleep, an outage as a span, no secret.

use std::fmt::{Debug, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use corepool::telemetry::Traced;
use corepool::{GetError, Opening, Pool};
use telemetry_tests::{Numbers, until};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Level, span around it, and text.
type Line = (Level, Option<&'static str>, String);

/// All that is told.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Line>>>);

impl Heard {
    fn count(&self, wanted: impl Fn(&Line) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|line| wanted(line)).count()
    }
}

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Heard {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut text = String::new();
        event.record(&mut Text(&mut text));
        let span = context.event_span(event).map(|span| span.name());
        self.0.lock().unwrap().push((*event.metadata().level(), span, text));
    }

    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut text = String::from("span ");
        span.record(&mut Text(&mut text));
        self.0.lock().unwrap().push((*span.metadata().level(), None, text));
    }
}

#[test]
fn an_outage_is_two_lines_that_wake_and_a_span_around_the_rest() {
    let heard = Heard::default();
    // For the whole process: the observer runs on a thread of the pool's.
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(heard.clone())).expect("the first");
    let manager = Numbers { password: "sesame", ..Numbers::default() };
    let down = Arc::clone(&manager.down);
    down.store(true, Relaxed);
    let builder = Pool::builder(manager).max_size(2).opening(Opening::Background);
    let pool = builder.observer(Traced::new("orders")).build().expect("in the background");
    until("three dials have failed", || pool.stats().dials_failed >= 3);
    down.store(false, Relaxed);
    until("open again", || pool.with(|number| Ok::<_, GetError>(*number)).is_ok());
    until("told of the end", || heard.count(|(.., text)| text.contains("outage ended")) == 1);
    pool.close();
    until("told of the close", || heard.count(|(.., text)| text.contains("connection closed")) >= 1);

    let warnings = heard.count(|(level, ..)| *level <= Level::WARN);
    assert_eq!(warnings, 1, "an outage wakes once: {:?}", heard.0.lock().unwrap());
    assert_eq!(heard.count(|(level, ..)| *level == Level::INFO), 2, "its span and its end");
    let failed = heard.count(|(.., text)| text.contains("dial failed"));
    assert!(failed >= 3, "each failed dial is told");
    let inside = heard.count(|(_, span, text)| *span == Some("outage") && text.contains("dial failed"));
    assert!(inside + 1 >= failed, "those after the first are inside the outage's span");
    assert_eq!(heard.count(|(.., text)| text.contains("sesame")), 0, "no secret");
    assert_eq!(heard.count(|(.., text)| !text.contains("pool=\"orders\"")), 0, "each names its pool");
}
