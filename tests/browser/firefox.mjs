// Opens a file in Firefox by WebDriver BiDi and presses keys: node firefox.mjs FIREFOX FILE KEY… prints JSON.
import { createRequire } from "node:module";

const [firefox, file, ...keys] = process.argv.slice(2);
const puppeteer = createRequire(`${process.env.NODE_PATH}/`)("puppeteer-core");
const wait = (ms) => new Promise((done) => { setTimeout(done, ms); });
const until = async (page, condition) => {
  for (let i = 0; i < 600 && !(await page.evaluate(condition)); i++) await wait(100);
};

const browser = await puppeteer.launch({ browser: "firefox", executablePath: firefox, headless: true, timeout: 120_000, protocolTimeout: 120_000 });
try {
  const page = await browser.newPage(), raised = [], steps = [];
  page.on("pageerror", (error) => raised.push(String(error)));
  await page.goto(`file://${file}`);
  await until(page, () => document.querySelector("[data-testid=player]")?.dataset.ready === "true");
  for (const key of keys) {
    const before = await page.evaluate(() => document.querySelector("[data-testid=player]").dataset.step);
    await page.keyboard.press(key);
    for (let i = 0; i < 100 && before === (await page.evaluate(() => document.querySelector("[data-testid=player]").dataset.step)); i++) await wait(50);
    steps.push(Number(await page.evaluate(() => document.querySelector("[data-testid=player]").dataset.step)));
  }
  await until(page, () => document.querySelector(".sg-ring"));
  const nodes = await page.evaluate(() => document.querySelectorAll(".sg-node").length);
  console.log(JSON.stringify({ steps, nodes, raised }));
} finally {
  await browser.close();
}
