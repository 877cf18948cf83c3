"""What bench/run has found, as text, JSON and a page with bars that needs nothing else.

Owns how figures look. Must never judge by a figure that is not in the JSON.
"""
import html
import json
import os
import platform
import subprocess

import workloads

ORDER = 'native', 'nexec', 'sshfs', 'sshfs-fast', 'ssh', 'tcp'
COLOURS = {'native': '#888', 'nexec': '#1a7f37', 'sshfs': '#cf222e', 'sshfs-fast': '#bf8700', 'ssh': '#cf222e', 'tcp': '#0969da'}
STYLE = '''body{font:14px/1.4 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}
h2{margin:2em 0 .3em;font-size:1.1em}.r{display:flex;align-items:center;height:1.5em}.l{width:11em;flex:none}
.t{flex:1}.b{height:1em;border-radius:2px;min-width:2px}.n{width:17em;flex:none;padding-left:.6em;
font-variant-numeric:tabular-nums;white-space:nowrap}.limit{background-image:linear-gradient(90deg,transparent 80%,#fff)}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.15em .8em;text-align:right;border-bottom:1px
solid #ddd}td:first-child,th:first-child{text-align:left}.no{color:#cf222e;font-weight:bold}.c{color:#777;width:5em;flex:none}'''


def cpu():
    with open('/proc/cpuinfo') as f:
        for line in f:
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.machine()


def time_text(s):
    return '%.0f us' % (s * 1e6) if s < 0.001 else '%.1f ms' % (s * 1e3) if s < 0.1 else '%.2f s' % s


def bytes_text(n):
    return '%.1f MB' % (n / 1e6) if n >= 1e5 else '%.1f kB' % (n / 1e3)


class Results:
    def __init__(self, lines, sizes, about):
        self.lines, self.sizes, self.table = lines, sizes, workloads.table(sizes)
        self.about = {**about, 'kernel': platform.release(), 'cpu': cpu(), 'cpus': os.cpu_count(), 'commit': self.commit()}
        self.found = {(l['workload'], l['rtt'], l['phase'], l['way']): l for l in lines if 'phase' in l}
        self.failed = {(l['workload'], l['rtt'], l['way']): l['failed'] for l in lines if 'failed' in l}
        self.fsyncs = {l['rtt']: l['fsyncs'] for l in lines if 'fsyncs' in l}
        self.calls = {(l['call'], l['rtt'], l['way']): l['ns'] for l in lines if 'call' in l}
        self.memory = next((l['memory'] for l in lines if 'memory' in l), {})
        self.rtts = list(dict.fromkeys(l['rtt'] for l in lines if 'rtt' in l))

    def commit(self):
        words = ['git', '-C', os.path.dirname(os.path.realpath(__file__)), 'log', '-1', '--format=%h %cs']
        return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()

    # ---- goals ----

    def figure(self, name, rtt, way, phase):
        """Seconds; of a run that was ended, the limit. KeyError: not measured."""
        if phase == 'per fsync':
            return self.found[name, rtt, 'cold', way]['trips'] / self.fsyncs[rtt]
        line = self.found.get((name, rtt, phase, way)) or self.found[name, rtt, 'cold', way]
        if phase != 'cold' and 'limit' not in line and line['phase'] != phase:
            raise KeyError(phase)
        return line.get('seconds', line.get('limit'))

    def verdicts(self):
        """(workload, rtt, text, figure, limit, met)"""
        for goal in workloads.goals(self.sizes):
            for rtt in self.rtts:
                if goal.rtts and rtt not in goal.rtts:
                    continue
                try:
                    value = goal.value(lambda way, phase: self.figure(goal.workload, rtt, way, phase), rtt)
                except KeyError:
                    continue
                sign = '>=' if goal.least else '<='
                yield self.table[goal.workload].title, rtt, goal.text, value, '%s %g' % (sign, goal.limit), goal.met(value)
        for call, limit in workloads.CALLS.items():
            for rtt in self.rtts:
                if (call, rtt, 'nexec') in self.calls and (call, rtt, 'native') in self.calls:
                    value = self.calls[call, rtt, 'nexec'] / self.calls[call, rtt, 'native']
                    yield call, rtt, 'of native', value, '<= %g' % limit, value <= limit
        for name, kilobytes in self.memory.items():
            yield name, 0, 'peak of resident memory, MiB', kilobytes / 1024, '<= 64', kilobytes <= 64 * 1024

    # ---- text ----

    def cell(self, name, rtt, phase, way):
        if (name, rtt, way) in self.failed:
            return 'failed'
        line = self.found.get((name, rtt, phase, way))
        if not line:
            ended = 'limit' in self.found.get((name, rtt, 'cold', way), {})
            return 'not reached' if ended and phase == 'warm' else ''
        if 'limit' in line:
            return '> %g s' % line['limit']
        return '%s %5d' % (time_text(line['seconds']), line['trips']) if way != 'native' else time_text(line['seconds'])

    def rows(self):
        """(title, rtt, phase, cells); only what was measured"""
        for name, w in self.table.items():
            for rtt in self.rtts:
                for phase in 'cold', 'warm':
                    cells = [self.cell(name, rtt, phase, way) for way in ORDER]
                    if any(cells):
                        yield w.title, rtt, ('second' if w.sessions and phase == 'warm' else phase), cells

    def text(self):
        out = ['%(cpu)s, %(cpus)d cores, Linux %(kernel)s; %(commit)s' % self.about,
               'medians; with a link: the time, and the round trips waited for one after the other', '']
        form = '%-31s%7s %-7s' + '%19s' * len(ORDER)
        out.append((form % ('', 'rtt', '', *ORDER)).rstrip())
        out += [(form % (title, '%g ms' % rtt, phase, *cells)).rstrip() for title, rtt, phase, cells in self.rows()]
        if self.calls:
            out += ['', form % ('one call', 'rtt', '', *ORDER)]
        for call, rtt in dict.fromkeys((c, r) for c, r, _ in self.calls):
            cells = [self.calls.get((call, rtt, way)) for way in ORDER]
            out.append((form % (call, '%g ms' % rtt, '', *('' if c is None else time_ns(c) for c in cells))).rstrip())
        verdicts = list(self.verdicts())
        if verdicts:
            out += ['', 'goals']
        out += ['%-31s%7s %-32s%10.3g  %-9s%s' % (t, '%g ms' % r, what, value, limit, 'ok' if met else 'MISSED')
                for t, r, what, value, limit, met in verdicts]
        out += ['failed: %s, %g ms, %s: %s' % (*key, why) for key, why in self.failed.items()]
        return '\n'.join(out) + '\n'

    def json(self):
        goals = [dict(zip(('what', 'rtt', 'goal', 'figure', 'limit', 'met'), v)) for v in self.verdicts()]
        return json.dumps({'about': self.about, 'results': self.lines, 'goals': goals}, indent=1) + '\n'

    # ---- page ----

    def bars(self, name, rtt):
        lines = [(phase, way, self.found[name, rtt, phase, way]) for phase in ('cold', 'warm') for way in ORDER
                 if (name, rtt, phase, way) in self.found]
        value = lambda line: line.get('seconds', line.get('limit'))
        longest = max((value(l) for _, _, l in lines), default=1)
        for phase, way, line in lines:
            shown = '&gt; %g s' % line['limit'] if 'limit' in line else time_text(line['seconds'])
            if 'trips' in line and way != 'native':
                shown += ', %d round trips, %s' % (line['trips'], bytes_text(line['bytes']))
            label = 'second' if phase == 'warm' and self.table[name].sessions else phase
            yield ('<div class=r><span class=c>%s</span><span class=l>%s</span><span class=t><span class="b%s" style="display:block;'
                   'width:%.2f%%;background-color:%s"></span></span><span class=n>%s</span></div>'
                   % (label, way, ' limit' if 'limit' in line else '', 100 * value(line) / longest, COLOURS[way], shown))

    def html(self):
        about = '%(cpu)s, %(cpus)d cores, Linux %(kernel)s; %(commit)s' % self.about
        out = ['<!doctype html><html lang=en><meta charset=utf-8><title>fsyscall: bench/run</title><style>%s</style>' % STYLE,
               '<h1>bench/run %s</h1><p>%s.</p>' % (html.escape(self.about['command']), html.escape(about)),
               '<p>The same work natively on the disk with the files; by nexec, the program on the other host; and by a '
               'program there on sshfs, as it comes and with the fastest options. Shorter is better. Cold: a new session or '
               'mount, the kernel\'s caches dropped; warm: again in the same session. A bar that fades was ended at the limit.</p>']
        for name, w in self.table.items():
            for rtt in self.rtts:
                bars = list(self.bars(name, rtt))
                if bars:
                    out += ['<h2>%s, %g ms</h2>' % (html.escape(w.title), rtt), *bars]
        out += self.html_calls() + self.html_goals()
        return '\n'.join(out) + '\n</html>\n'

    def html_calls(self):
        rows = dict.fromkeys((c, r) for c, r, _ in self.calls)
        ways = [way for way in ORDER if any(w == way for _, _, w in self.calls)]
        if not rows:
            return []
        head = '<h2>One call</h2><table><tr><th>call<th>rtt' + ''.join('<th>' + way for way in ways)
        return [head] + ['<tr><td>%s<td>%g ms%s' % (call, rtt, ''.join(
            '<td>' + (time_ns(self.calls[call, rtt, way]) if (call, rtt, way) in self.calls else '') for way in ways))
            for call, rtt in rows] + ['</table>']

    def html_goals(self):
        verdicts = list(self.verdicts())
        if not verdicts:
            return []
        return ['<h2>Goals</h2><table><tr><th>what<th>rtt<th>goal<th>figure<th>limit<th>'] + [
            '<tr><td>%s<td>%g ms<td>%s<td>%.3g<td>%s<td%s' % (html.escape(t), r, what, value, html.escape(limit),
                                                            '>met' if met else ' class=no>missed')
            for t, r, what, value, limit, met in verdicts] + ['</table>']


def time_ns(ns):
    return '%.0f ns' % ns if ns < 1e5 else time_text(ns / 1e9)
