"""HTTP: adapters answer over the wire, in OpenAI's form and in one for heads."""
