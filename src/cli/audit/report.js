"use strict";
(() => {
  const table = document.querySelector("table");
  if (!table) return;
  const body = table.tBodies[0];
  const fold = (text) => text.normalize("NFKC").toLowerCase();
  const rows = [...body.rows].map((row) => ({
    row,
    text: fold(row.textContent),
    keys: [...row.cells].map((cell) => cell.textContent.trim()),
  }));
  const form = document.querySelector("form");
  const input = form.querySelector("input");
  const shown = form.querySelector("output");
  const filter = () => {
    const words = fold(input.value).split(/\s+/).filter(Boolean);
    let count = 0;
    for (const { row, text } of rows) {
      row.hidden = !words.every((word) => text.includes(word));
      count += row.hidden ? 0 : 1;
    }
    shown.textContent = `${count} of ${rows.length} shown`;
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("input", filter);
  form.hidden = false;
  filter();

  const order = new Intl.Collator("en", { numeric: true });
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      rows.sort((a, b) => order.compare(a.keys[column], b.keys[column]) * (down ? -1 : 1));
      body.append(...rows.map(({ row }) => row));
    });
  });
})();
