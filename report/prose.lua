-- What the report's Markdown means, for LaTeX and HTML alike: references, citations, equations, tables of numbers.

local latex = FORMAT:match("latex") ~= nil
local places = {figure = true, table = true, chapter = true, section = true, appendix = true, equation = true}
local numbers = {}  -- of each label, as LaTeX counts
for label, number in (os.getenv("REPORT_NUMBERS") or ""):gmatch("(%S+)=(%S+)") do numbers[label] = number end

local function raw(text) return pandoc.RawInline(latex and "latex" or "html", text) end

-- A link to a label of the report around some inlines.
local function link_to(label, inlines)
  if not latex then return pandoc.List({pandoc.Link(inlines, "#" .. label)}) end
  local result = pandoc.List({raw("\\hyperref[" .. label .. "]{")})
  result:extend(inlines)
  result:insert(raw("}"))
  return result
end

-- The label that a link refers to: [figure](#fig-x), [there](04_gan.ipynb); nil outside the report.
local function label_of(link)
  local notebook = link.target:match("^%d%d_([%w_]+)%.ipynb$") or link.target:match("^%./%d%d_([%w_]+)%.ipynb$")
  return notebook and "sec-" .. notebook or link.target:match("^#(.+)$")
end

-- "figure 3", "equation (2)", "Kingma and Welling (2014, eq. 3)" but no parentheses within others; or the link's own words.
local function reference(link, words, in_parentheses)
  local label = label_of(link)
  if not places[words:lower()] then
    local authors, year, detail = words:gsub("\u{a0}", " "):gsub(" & ", " and "):match("^(.-) (%d%d%d%d%a?)(.*)$")
    if label:match("^cite%-") and authors then
      local form = in_parentheses and "%s %s%s" or "%s (%s%s)"
      return link_to(label, {pandoc.Str(form:format(authors, year, detail))})
    end
    return link_to(label, link.content)
  end
  if label:match("^eq") then
    if not latex then return link_to(label, {pandoc.Str(words .. "\u{a0}(" .. (numbers[label] or "") .. ")")}) end
    return {pandoc.Str(words .. "\u{a0}"), pandoc.Math("InlineMath", "\\eqref{" .. label .. "}")}
  end
  local number = latex and raw("~\\ref*{" .. label .. "}") or pandoc.Str("\u{a0}" .. (numbers[label] or ""))
  return link_to(label, {pandoc.Str(words), number})
end

-- References among the inlines; the article before one goes: "The [figure](#fig-x)" is "Figure 3".
local function resolve(inlines)
  local result, depth = pandoc.List(), 0
  for _, inline in ipairs(inlines) do
    if inline.t == "Str" then
      depth = depth + select(2, inline.text:gsub("%(", "")) - select(2, inline.text:gsub("%)", ""))
    end
    if inline.t == "Link" and label_of(inline) then
      local words = pandoc.utils.stringify(inline)
      local article = #result > 1 and result[#result - 1].text
      if places[words:lower()] and (article == "The" or article == "the") then
        result:remove()
        result:remove()
        if article == "The" then words = words:gsub("^%l", string.upper) end
      end
      result:extend(reference(inline, words, depth > 0))
    else
      result:insert(inline)
    end
  end
  return result
end

-- Greek variables in italics, as in formulas; a negative number's hyphen is a minus.
local function variables(str)
  local result = pandoc.List()
  local text, italic = "", false
  local function flush(now)
    if text ~= "" then result:insert(italic and pandoc.Emph(pandoc.Str(text)) or pandoc.Str(text)) end
    text, italic = "", now
  end
  for _, code in utf8.codes((str.text:gsub("^(%(?)%-(%d)", "%1−%2"))) do
    local greek = 0x3b1 <= code and code <= 0x3c9
    if greek ~= italic then flush(greek) end
    text = text .. utf8.char(code)
  end
  flush(false)
  return result
end

-- No line of a paragraph is broken beside ± or =.
local function unbroken(paragraph)
  local inlines = paragraph.content
  for i = 2, #inlines - 1 do
    if inlines[i].t == "Str" and (inlines[i].text == "±" or inlines[i].text == "=") then
      for _, j in ipairs({i - 1, i + 1}) do
        if inlines[j].t == "Space" or inlines[j].t == "SoftBreak" then inlines[j] = pandoc.Str("\u{a0}") end
      end
    end
  end
  return paragraph
end

-- The rows of an environment, which may hold others of its kind, such as aligned or pmatrix.
local function rows(body)
  local found, depth, start, place = {}, 0, 1, 1
  while place <= #body do
    local command = body:match("^\\begin{", place) or body:match("^\\end{", place) or body:match("^\\\\", place)
    if command == "\\begin{" then depth = depth + 1 end
    if command == "\\end{" then depth = depth - 1 end
    if command == "\\\\" and depth == 0 then
      table.insert(found, body:sub(start, place - 1))
      start = place + 2
    end
    place = place + (command and #command or 1)
  end
  table.insert(found, body:sub(start))
  return found
end

-- A formula in the commands that pandoc knows: \Bigl( is \Big(, and \bigm| has its spaces.
local function simple(text)
  text = text:gsub("\\([bB]igg?)m%s*(\\?%a+)", "\\;\\%1%2\\;"):gsub("\\([bB]igg?)m%s*(%A)", "\\;\\%1%2\\;")
  return (text:gsub("\\([bB]igg?)[lr]%f[%A]", "\\%1"))
end

-- A displayed formula in HTML, without the commands that number it; beside it the number, which \tag or a label tells.
-- Of several numbered rows each has its number in a last column.
local function display(text)
  local name, body = text:match("^%s*\\begin{(%a+)%*?}(.*)\\end{%a+%*?}%s*$")
  local single = name == nil or name == "equation" or name == "multline"
  local labels, tags, plain = {}, {}, {}
  for i, row in ipairs(single and {body or text} or rows(body)) do
    for label in row:gmatch("\\label{([^}]*)}") do table.insert(labels, label) end
    local tag = row:match("\\tag{([^}]*)}") or numbers[row:match("\\label{([^}]*)}")]
    if tag then table.insert(tags, tag) end
    row = row:gsub("\\label{[^}]*}", ""):gsub("\\tag{[^}]*}", ""):gsub("\\notag", ""):gsub("\\nonumber", "")
    plain[i] = {text = row:match("^%s*(.-)%s*$"), tag = tag}
  end
  local lines = {}
  for i, row in ipairs(plain) do
    local cells = #tags > 1 and (row.text:find("&") and " & " or " & & ") .. "\\text{" .. (row.tag and "(" .. row.tag .. ")" or "") .. "}"
    lines[i] = row.text .. (cells or "")
  end
  local formula = table.concat(lines, "\\\\\n")
  if #lines > 1 then formula = "\\begin{aligned}\n" .. formula .. "\n\\end{aligned}" end
  local id = labels[1] and ' id="' .. labels[1] .. '"' or ""
  local opening = '<span class="display' .. (#tags > 1 and " rows" or "") .. '"' .. id .. '><span class="scroll">'
  for i = 2, #labels do opening = opening .. '<span id="' .. labels[i] .. '"></span>' end
  local ending = "</span>" .. (#tags == 1 and '<span class="tag">(' .. tags[1] .. ")</span>" or "") .. "</span>"
  return {raw(opening), pandoc.Math("DisplayMath", simple(formula)), raw(ending)}
end

-- An environment of LaTeX that numbers itself.
local function equation(text)
  if latex then return raw(text) end
  return display(text)
end

local function is_environment(text)
  local name = text:match("^%s*\\begin{(%a+)%*?}")
  return name == "equation" or name == "align" or name == "gather" or name == "multline"
end

local function formula(math)
  local label = math.text:match("^\\eqref{([^{}]+)}$")
  if label and not latex then return link_to(label, {pandoc.Str("(" .. (numbers[label] or "") .. ")")}) end
  if is_environment(math.text) then return equation(math.text:match("^%s*(.-)%s*$")) end
  if math.text:match("\\label{") then return equation("\\begin{equation}" .. math.text .. "\\end{equation}") end
  if latex then return nil end
  if math.mathtype == "DisplayMath" then return display(math.text) end
  math.text = simple(math.text)
  return math
end

-- \eqref{…} in the text, or an environment without dollars.
local function tex(inline)
  if not latex and inline.format:match("tex") then
    return is_environment(inline.text) and equation(inline.text) or formula(pandoc.Math("InlineMath", inline.text))
  end
end

-- []{#label}: a place to refer to, by \\hyperref whatever pandoc's version.
local function place(span)
  if not latex or span.identifier == "" then return nil end
  local inlines = pandoc.List({raw("\\phantomsection\\label{" .. span.identifier .. "}")})
  inlines:extend(span.content)
  return inlines
end

-- What is not confirmed in this run: struck through in HTML; in LaTeX coloured, since no line can cross formulas there.
local function struck(strikeout)
  if not latex then return strikeout end
  local inlines = pandoc.List({raw("\\begingroup\\color{warning}")})
  inlines:extend(strikeout.content)
  inlines:insert(raw("\\endgroup{}"))
  return inlines
end

-- A formula in plain letters, for the PDF's bookmarks: \beta \to 0 becomes β → 0.
local names = {alpha = "α", beta = "β", gamma = "γ", delta = "δ", epsilon = "ε", varepsilon = "ε", lambda = "λ", mu = "μ",
  pi = "π", rho = "ρ", sigma = "σ", phi = "φ", theta = "θ", to = "→", infty = "∞", cdot = "·", le = "≤", ge = "≥", mathbb = ""}
local function letters(text)
  return (text:gsub("\\(%a+)", function(name) return names[name] or name end):gsub("[{}$^_\\]", ""):gsub(" +", " "))
end

local level = 1  -- of the last heading in HTML, of which the page's title is the first
local function heading(header)
  if not latex then
    local number = numbers[header.identifier]
    if number then header.content:insert(1, raw('<span class="number">' .. number .. "</span> ")) end
    level = math.min(header.level + 1, level + 1)
    header.level = level
    return header
  end
  local inlines = pandoc.List({raw("\\" .. ({"section", "subsection", "subsubsection"})[header.level] .. "{")})
  for _, inline in ipairs(header.content) do
    if inline.t == "Math" then
      inline = raw("\\texorpdfstring{\\(" .. inline.text .. "\\)}{" .. letters(inline.text) .. "}")
    end
    inlines:insert(inline)
  end
  inlines:insert(raw("}" .. (header.identifier ~= "" and "\\label{" .. header.identifier .. "}" or "")))
  return pandoc.Plain(inlines)
end

-- The cells of a column padded to one width, so that in its middle decimal points, and ±, stand one below the other; nil if
-- it is not all numbers.
local function padded(texts)
  local parts, widest = {}, {"", "", "", ""}  -- before and behind the point, of the value and of its error
  for row, text in ipairs(texts) do
    local value, error = text:match("^(.-) ± (.*)$")
    local whole, tail, percent = (value or text):match("^([%d−+]*)(%.?%d*)(%%?)$")
    local error_whole, error_tail, error_percent = (error or ""):match("^(%d*)(%.?%d*)(%%?)$")
    if not whole or not error_whole or (error and percent ~= "") then return nil end
    parts[row] = {whole, tail, error_whole, error_tail, percent = ((percent .. error_percent):gsub("%%", "\\%%"))}
    for i, part in ipairs(parts[row]) do
      if utf8.len(part) > utf8.len(widest[i]) then widest[i] = part end
    end
  end
  local function box(column, part, side)
    if widest[column] == "" then return "" end
    return "\\makebox[\\widthof{" .. widest[column] .. "}][" .. side .. "]{" .. part .. "}"
  end
  local cells = {}
  for row, part in ipairs(parts) do
    local whole, tail, error, error_tail = table.unpack(part)
    local cell = box(1, whole, "r") .. box(2, tail, "l")
    if widest[3] ~= "" then
      cell = cell .. (error == "" and "\\hphantom{~±~}" or "~±~") .. box(3, error, "r") .. box(4, error_tail, "l")
    end
    cells[row] = (whole .. tail .. error == "" and "" or cell) .. part.percent
  end
  return cells
end

-- LaTeX: a table of natural widths, ruled as booktabs does; in a Div of class "long" one that pages may divide, with the
-- columns that the Div names. HTML: a box of its own, which scrolls.
local function tabular(tbl, columns)
  if not latex then
    local heads = {}
    for j, cell in ipairs(tbl.head.rows[1] and tbl.head.rows[1].cells or {}) do heads[j] = pandoc.utils.stringify(cell.contents) end
    for _, body in ipairs(tbl.bodies) do
      body.row_head_columns = 1
      for _, row in ipairs(columns and body.body or {}) do  -- for small screens, which stack the cells of a row
        local filled = 0
        for _, cell in ipairs(row.cells) do if #cell.contents > 0 then filled = filled + 1 end end
        for j, cell in ipairs(row.cells) do if j > 1 and filled > 1 then cell.attributes.head = heads[j] end end
      end
    end
    return pandoc.Div({tbl}, {class = columns and "wide long" or "wide"}), false
  end
  local simple = pandoc.utils.to_simple_table(tbl)
  local align = {AlignRight = "r", AlignCenter = "c"}
  local spec = ""
  for j, name in ipairs(simple.aligns) do
    local texts, bold = {}, {}
    for i, row in ipairs(simple.rows) do
      local cell = row[j][1]
      local plain = cell and cell.content or {}
      if #plain == 1 and plain[1].t == "Strong" then bold[i], plain = true, plain[1].content end
      local only = true
      for _, inline in ipairs(plain) do only = only and (inline.t == "Str" or inline.t == "Space") end
      texts[i] = only and pandoc.utils.stringify(plain) or "none"
    end
    local cells = name == "AlignRight" and padded(texts)
    spec = spec .. (cells and "c" or align[name] or "l")
    for i, row in ipairs(cells and simple.rows or {}) do
      row[j] = {pandoc.Plain({raw(bold[i] and "\\textbf{" .. cells[i] .. "}" or cells[i])})}
    end
  end
  local environment = columns and "longlist" or "reporttable"
  local inlines = pandoc.List({raw("\\begin{" .. environment .. "}{" .. (columns or "@{}" .. spec .. "@{}") .. "}\\toprule ")})
  local function add(row, ending)
    for j, cell in ipairs(row) do
      if j > 1 then inlines:insert(raw(" & ")) end
      for _, block in ipairs(cell) do inlines:extend(block.content) end
    end
    inlines:insert(raw(ending))
  end
  add(simple.headers, " \\\\ \\midrule " .. (columns and "\\endhead \\bottomrule \\endlastfoot " or ""))
  for _, row in ipairs(simple.rows) do add(row, " \\\\\n") end
  inlines:insert(raw((columns and "" or "\\bottomrule") .. "\\end{" .. environment .. "}"))
  return pandoc.Plain(inlines)
end

-- Long tables, and the list of references with its labels.
local function division(div)
  if div.classes:includes("long") then return tabular(div.content[1], div.attributes.columns or "") end
  if not div.classes:includes("csl-bib-body") then return nil end
  local items = pandoc.List({pandoc.RawBlock("latex", "\\begin{sources}")})
  for _, entry in ipairs(div.content) do
    entry.identifier = entry.identifier:gsub("^ref%-", "cite-")
    items:insert(pandoc.RawBlock("latex", "\\item\\phantomsection\\label{" .. entry.identifier .. "}"))
    items:extend(entry.content)
  end
  items:insert(pandoc.RawBlock("latex", "\\end{sources}"))
  return latex and items or div, false
end

return {
  {Str = variables, Math = formula, RawInline = tex, RawBlock = function(block)
    if not latex and block.format == "latex" then return {} end  -- for the PDF alone
    local inlines = not latex and block.format:match("tex") and tex(block)
    if inlines then return pandoc.Para(inlines) end
  end},
  {Inlines = resolve, Para = unbroken},
  {Strikeout = struck, Span = place},
  {traverse = "topdown", Header = heading, Div = division, Table = function(tbl) return tabular(tbl) end},
}
