//! The processors of one session, in a pipeline of their own.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use gst::prelude::*;
use serde_json::{Map, Value};

use super::error::{MediaError, set};
use super::event::{self, Events};
use super::handover::Handover;
use super::inlet::Inlet;
use super::marks::Marks;
use super::switch::Lane;
use super::template::{Step, Template};
use crate::processor::Processor;
use crate::secret::Secret;
use crate::session::Parameters;

/// Local processors.
pub(crate) const LOCAL: &str = include_str!("../../../pipelines/browser-diffusion-browser.launch");
/// A processor elsewhere.
pub(crate) const CLOUD: &str = include_str!("../../../pipelines/browser-fal-browser.launch");
/// Text-to-video: black frames set the pace, the processor makes the picture.
const MADE_FRAMES: &str = "videotestsrc name=source is-live=true pattern=black ! capsfilter name=made \
     ! queue leaky=downstream max-size-buffers=1 max-size-bytes=0 max-size-time=0";
/// Size of made frames when no processor has a wish.
const MADE_SIZE: (u32, u32) = (512, 512);

/// One processor's element.
#[derive(Debug)]
struct Node {
    id: String,
    pipeline_id: String,
    element: gst::Element,
}

/// A running chain of processors.
#[derive(Debug)]
pub(crate) struct Processing {
    pipeline: gst::Pipeline,
    nodes: Vec<Node>,
    exit: Exit,
}

/// Where finished pictures go, as which lane's; nowhere while nobody is connected.
pub(crate) type Exit = Arc<Mutex<Option<(Lane, Weak<Handover>)>>>;

impl Processing {
    /// Builds the chain. `None` when there is nothing to do between decoder and encoder. The inlet is the chain's
    /// door for decoded frames; a text-to-video chain has none.
    pub(crate) fn build(
        template: &str,
        processors: &[Processor],
        takes_input: bool,
        initial: &Parameters,
        events: &Events,
    ) -> Result<Option<(Self, Option<Inlet>)>, MediaError> {
        let chain: Vec<(&Processor, &'static str)> = processors
            .iter()
            .filter_map(|processor| Some((processor, processor.factory?)))
            .collect();
        if chain.is_empty() && takes_input {
            return Ok(None);
        }
        for (_, factory) in &chain {
            gst::ElementFactory::find(factory)
                .ok_or_else(|| MediaError::Missing((*factory).into()))?;
        }
        let step = |(processor, factory): &(&Processor, &'static str)| -> Step {
            let fit = processor.size.map(|size| processor.fit.stages(size));
            (*factory, fit)
        };
        let steps: Vec<Step> = chain.iter().map(step).collect();
        let template = Template::read(template).map_err(MediaError::Pipeline)?;
        let template = if takes_input {
            template
        } else {
            template.with_source(MADE_FRAMES)
        };
        let pipeline = gst::parse::launch(&template.with_processors(&steps).launch())
            .map_err(|error| MediaError::Pipeline(error.message().to_owned()))?
            .downcast::<gst::Pipeline>()
            .map_err(|_| MediaError::Pipeline("the template is no pipeline".into()))?;
        event::watch(&pipeline, events.clone());

        let nodes = chain
            .iter()
            .enumerate()
            .map(|(index, (processor, _))| prepare(&pipeline, index, processor, initial))
            .collect::<Result<_, _>>()?;
        let exit = Exit::default();
        let door = if takes_input {
            let source = named(&pipeline, "source")?
                .downcast::<gst_app::AppSrc>()
                .map_err(|_| MediaError::Pipeline("the template's source is no appsrc".into()))?;
            Some(Inlet::new(source))
        } else {
            let (width, height) = chain
                .first()
                .and_then(|(processor, _)| processor.size)
                .unwrap_or(MADE_SIZE);
            let caps = format!(
                "video/x-raw,format=RGB,width={width},height={height},framerate=30/1,pixel-aspect-ratio=1/1"
            );
            set(&named(&pipeline, "made")?, "caps", &caps)?;
            pace(&pipeline, exit.clone())?;
            None
        };
        let marks = door.as_ref().map(Inlet::marks).unwrap_or_default();
        collect(&pipeline, exit.clone(), marks)?;
        Ok(Some((
            Self {
                pipeline,
                nodes,
                exit,
            },
            door,
        )))
    }

    /// Finished pictures go here from now on.
    pub(crate) fn connect(&self, lane: Lane, handover: &Arc<Handover>) {
        *self.exit.lock().unwrap() = Some((lane, Arc::downgrade(handover)));
    }

    /// A way to whoever is connected, for longer than the chain is borrowed.
    pub(crate) fn exit(&self) -> Exit {
        self.exit.clone()
    }

    /// Finished pictures go nowhere.
    pub(crate) fn disconnect(&self) {
        *self.exit.lock().unwrap() = None;
    }

    /// Hands the first processor a secret, by a property that only takes it.
    pub(crate) fn set_secret(&self, property: &str, secret: &Secret) -> Result<(), MediaError> {
        self.confide(property, &secret.expose().to_value())
    }

    /// The same with a list of them.
    pub(crate) fn set_secrets(&self, property: &str, secrets: &[Secret]) -> Result<(), MediaError> {
        let secrets = gst::Array::new(secrets.iter().map(Secret::expose));
        self.confide(property, &secrets.to_value())
    }

    fn confide(&self, property: &str, value: &gst::glib::Value) -> Result<(), MediaError> {
        let Some(node) = self.nodes.first() else {
            return Ok(());
        };
        let spec = node.element.find_property(property);
        // Not by `set`, whose error shows the value.
        if spec.is_none_or(|spec| spec.value_type() != value.type_()) {
            return Err(MediaError::NoProperty {
                element: node.id.clone(),
                property: property.into(),
            });
        }
        node.element.set_property_from_value(property, value);
        Ok(())
    }

    /// A property of the first processor, as GStreamer writes it.
    pub(crate) fn text(&self, property: &str) -> Option<String> {
        let element = &self.nodes.first()?.element;
        element.find_property(property)?;
        let value = element.property_value(property);
        match value.get::<Option<String>>() {
            Ok(text) => text,
            Err(_) => Some(value.serialize().ok()?.to_string()),
        }
    }

    /// Starts; blocks while a processor loads its model. A failure also arrives as an event, with the reason.
    pub(crate) fn start(&self) -> Result<(), MediaError> {
        self.pipeline.set_state(gst::State::Playing)?;
        Ok(())
    }

    /// Hands a patch to the processors (or the one of this node).
    ///
    /// # Errors
    ///
    /// The first refusal, in the processor's words.
    pub(crate) fn apply(&self, node_id: Option<&str>, patch: &Parameters) -> Result<(), String> {
        let meant = |node: &&Node| node_id.is_none_or(|id| id == node.id || id == node.pipeline_id);
        let mut nodes = self.nodes.iter().filter(meant).peekable();
        if nodes.peek().is_none() {
            tracing::warn!(
                node_id,
                "no processor of this name; the parameters were dropped"
            );
        }
        let text = Value::Object(patch.clone()).to_string();
        nodes
            .filter_map(|node| apply(&node.element, &text))
            .next()
            .map_or(Ok(()), Err)
    }

    /// The processors' own figures, by node.
    pub(crate) fn stats(&self) -> Map<String, Value> {
        self.nodes
            .iter()
            .map(|node| (node.id.clone(), stats(&node.element)))
            .collect()
    }

    /// Stops and frees everything; blocks while a processor loads or works.
    pub(crate) fn stop(&self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!("a processing pipeline did not stop");
        }
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
    }
}

/// Whoever forgets to stop (a panic on the way) still leaves nothing running.
impl Drop for Processing {
    fn drop(&mut self) {
        self.stop();
    }
}

fn named(pipeline: &gst::Pipeline, name: &str) -> Result<gst::Element, MediaError> {
    pipeline
        .by_name(name)
        .ok_or_else(|| MediaError::Pipeline(format!("the template has no `{name}`")))
}

/// Sets one processor's properties, first of all the initial parameters, while it is still stopped.
fn prepare(
    pipeline: &gst::Pipeline,
    index: usize,
    processor: &Processor,
    initial: &Parameters,
) -> Result<Node, MediaError> {
    let element = named(pipeline, &format!("processor-{index}"))?;
    for (property, value) in &processor.properties {
        set(&element, property, value)?;
    }
    if !initial.is_empty() && element.find_property("parameters").is_some() {
        set(
            &element,
            "parameters",
            &Value::Object(initial.clone()).to_string(),
        )?;
    }
    if let Some((width, height)) = processor.size {
        let caps = gst::Caps::builder("video/x-raw")
            .field("width", i32::try_from(width).unwrap_or(i32::MAX))
            .field("height", i32::try_from(height).unwrap_or(i32::MAX))
            .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
            .build();
        named(pipeline, &format!("size-{index}"))?.set_property("caps", caps);
    }
    Ok(Node {
        id: processor.node_id.clone(),
        pipeline_id: processor.pipeline_id.clone(),
        element,
    })
}

/// Passes finished frames on, with their age: a frame's timestamp is when it entered.
fn collect(pipeline: &gst::Pipeline, exit: Exit, marks: Arc<Marks>) -> Result<(), MediaError> {
    let sink = named(pipeline, "sink")?
        .downcast::<gst_app::AppSink>()
        .map_err(|_| MediaError::Pipeline("the template's sink is no appsink".into()))?;
    sink.set_caps(Some(&gst::Caps::new_empty_simple("video/x-raw")));
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let entered = sample.buffer().and_then(gst::BufferRef::pts);
                let age = sink
                    .current_running_time()
                    .zip(entered)
                    .map(|(now, entered)| now.saturating_sub(entered));
                if let Some((lane, handover)) = connected(&exit) {
                    let mark = entered.and_then(|time| marks.of(time.nseconds()));
                    handover.processed(lane, &sample, age.map(Duration::from), mark);
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
    Ok(())
}

/// Who is connected right now; nothing is locked when this returns.
pub(crate) fn connected(exit: &Exit) -> Option<(Lane, Arc<Handover>)> {
    let (lane, handover) = exit.lock().unwrap().clone()?;
    Some((lane, handover.upgrade()?))
}

/// Counts made frames, and holds them back while nobody wants them.
fn pace(pipeline: &gst::Pipeline, exit: Exit) -> Result<(), MediaError> {
    let source = named(pipeline, "source")?;
    let pad = source
        .static_pad("src")
        .ok_or_else(|| MediaError::Pipeline("the source has no pad".into()))?;
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let wanted = connected(&exit).is_none_or(|(_, handover)| {
            handover.made(pad.current_caps(), info.buffer().map(ToOwned::to_owned))
        });
        if wanted {
            gst::PadProbeReturn::Ok
        } else {
            gst::PadProbeReturn::Drop
        }
    });
    Ok(())
}

/// One processor's answer to a patch: an error sentence, or nothing.
fn apply(element: &gst::Element, patch: &str) -> Option<String> {
    use gst::glib::subclass::SignalId;
    // An element that takes no parameters (a plain effect) is still a processor.
    SignalId::lookup("apply-parameters", element.type_())?;
    element.emit_by_name::<Option<String>>("apply-parameters", &[&patch])
}

fn stats(element: &gst::Element) -> Value {
    if element.find_property("stats").is_none() {
        return Value::Object(Map::new());
    }
    let Ok(Some(stats)) = element
        .property_value("stats")
        .get::<Option<gst::Structure>>()
    else {
        return Value::Object(Map::new());
    };
    Value::Object(
        stats
            .iter()
            .map(|(name, value)| (name.to_string(), json_of(value)))
            .collect(),
    )
}

fn json_of(value: &gst::glib::SendValue) -> Value {
    if let Ok(number) = value.get::<u64>() {
        return number.into();
    }
    if let Ok(number) = value.get::<f64>() {
        return number.into();
    }
    let text = || {
        value
            .serialize()
            .map(|text| text.to_string())
            .unwrap_or_default()
    };
    if let Ok(text) = value.get::<String>() {
        return text.into();
    }
    // Other numbers and booleans read the same in JSON as in GStreamer's text.
    let text = text();
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}
