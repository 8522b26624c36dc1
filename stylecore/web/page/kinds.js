// What is made on each page: the kind of its jobs, and the words for its inputs.

const PAINTINGS = { styles: "Paintings", style: "painting" };

export const KINDS = {
  paint: {
    kind: "picture", title: "Paint", content: "Photograph", one: "photograph", accept: "image/*", ...PAINTINGS,
    welcome: ["Paint a photograph in the style of a painting", "Drop two pictures here: first the photograph, then the painting."], samples: true,
  },
  film: {
    kind: "film", title: "Film", content: "Film", one: "film", accept: "video/*,.mkv,.gif", ...PAINTINGS,
    welcome: ["Paint a film in the style of a painting", "Drop a film here, and then the painting. A few seconds at 320 pixels take some minutes."],
  },
  sketch: {
    kind: "sketch", title: "Sketch", content: "Drawing", one: "drawing", accept: "image/*", styles: "Photographs", style: "photograph",
    welcome: ["Colour a line drawing from a photograph", "Drop a drawing with dark lines here, and then a photograph of the same thing; from several, the most similar one is taken."],
  },
  folder: {
    kind: "picture", title: "Folder", content: "Photographs", one: "photograph", accept: "image/*", several: true, ...PAINTINGS,
    welcome: ["Paint many photographs in one style", "Drop all photographs here, and add the painting at the left. They are painted one after the other."], samples: true,
  },
};

export const pageOf = (job) => (job.group ? "folder" : { picture: "paint", film: "film", sketch: "sketch" }[job.kind]);
