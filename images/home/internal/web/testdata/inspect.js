(() => {
  const problems = [];
  const must = (ok, text) => ok || problems.push(text);
  const visible = (element) => element.checkVisibility({ visibilityProperty: true }) && element.getClientRects().length > 0;
  const all = (selector) => [...document.querySelectorAll(selector)];

  must(document.documentElement.lang === "en", "the page has no language");
  must(document.title.trim() !== "", "the page has no title");
  must(all("h1").length === 1, `${all("h1").length} headings of the first level`);
  let level = 0;
  for (const heading of all("h1, h2, h3, h4")) {
    const now = Number(heading.tagName[1]);
    must(now <= level + 1, `the heading "${heading.textContent}" skips a level`);
    level = now;
  }
  const ids = all("[id]").map((element) => element.id);
  must(new Set(ids).size === ids.length, "an id is there twice");
  for (const element of all("[aria-labelledby]")) must(ids.includes(element.getAttribute("aria-labelledby")), "a label that is not there");
  for (const link of all('a[href^="#"]')) must(ids.includes(link.getAttribute("href").slice(1)), `${link.href} leads nowhere`);
  for (const image of all("svg, img")) must(image.getAttribute("aria-hidden") === "true" || image.getAttribute("aria-label"), "a picture without words");
  for (const mark of all(".mark")) must(mark.textContent.trim() !== "", "a level that is only a color");
  const { scrollWidth, clientWidth } = document.documentElement;
  must(scrollWidth <= clientWidth, `it is ${scrollWidth} wide, and the screen ${clientWidth}`);

  // A finger hits every service.
  for (const card of all(".service")) {
    const box = card.getBoundingClientRect();
    must(box.height >= 44 && box.width >= 44, `${card.dataset.service} is too small to hit`);
    card.scrollIntoView({ block: "center" });
    const now = card.getBoundingClientRect();
    const hit = document.elementFromPoint(now.left + now.width - 12, now.top + now.height - 12);
    must(hit === card.querySelector("a"), `${card.dataset.service} is no link as a whole`);
  }

  scrollTo(0, 0);

  // WCAG 2.2, 1.4.3: contrast of text with what is behind it.
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (color) => {
    const [r, g, b] = color.map((value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const color = rgba(getComputedStyle(element).backgroundColor);
      if (color[3] === 255) return color;
    }
    return null;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let checked = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (walker.currentNode.data.trim() === "" || !visible(element)) continue;
    const style = getComputedStyle(element);
    const back = behind(element);
    must(back, `"${walker.currentNode.data.trim()}" stands on nothing`);
    if (!back) continue;
    const [one, two] = [luminance(rgba(style.color)), luminance(back)].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (two + 0.05);
    checked++;
    must(contrast >= 4.5, `"${walker.currentNode.data.trim()}" has a contrast of ${contrast.toFixed(2)}`);
    must(parseFloat(style.fontSize) >= 13, `"${walker.currentNode.data.trim()}" is written too small`);
  }
  must(checked > 15, "too little text was checked");
  return problems;
})()
