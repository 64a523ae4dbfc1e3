"""The equation of each effect, as LaTeX: what the module of the effect computes, in the symbols that its page explains."""

EQUATIONS = {
    "fader": r"""y_L = 10^{g/20}\,\sqrt{2}\cos a \; x_L, \qquad y_R = 10^{g/20}\,\sqrt{2}\sin a \; x_R \\
a = (\mathrm{pan} + 1)\,\frac{\pi}{4}""",
    "width": r"""m = \frac{x_L + x_R}{2}, \qquad s = \frac{x_L - x_R}{2}, \qquad y_L = m + w\,s, \qquad y_R = m - w\,s""",
    "eq": r"""H(z) = \prod_{k} \frac{b_{0,k} + b_{1,k} z^{-1} + b_{2,k} z^{-2}}{1 + a_{1,k} z^{-1} + a_{2,k} z^{-2}} \\
H_{\mathrm{peak}}(s) = \frac{s^2 + s\,\sqrt{A}/Q + 1}{s^2 + s/(\sqrt{A}\,Q) + 1}, \qquad A = 10^{\mathrm{gain}/20}""",
    "lowpass": r"""|H(f)|^2 = \frac{1}{1 + \left(\tan(\pi f / f_s) / \tan(\pi f_c / f_s)\right)^{2 n}}""",
    "highpass": r"""|H(f)|^2 = \frac{1}{1 + \left(\tan(\pi f_c / f_s) / \tan(\pi f / f_s)\right)^{2 n}}""",
    "compressor": r"""v[n] = \left(b\,\left|x[n]\right|^p + (1 - b)\,v[n-1]^p\right)^{1/p} \\
p = 1 \text{ (peak) or } 2 \text{ (RMS)} \\
f[n] = \left(v[n] / L\right)^{-(1 - 1/\mathrm{ratio})} \text{ where } v[n] > L, \text{ else } 1 \\
g[n] = c\,f[n] + (1 - c)\,g[n-1], \qquad y[n] = 10^{\mathrm{makeup}/20}\,g[n]\,x[n] \\
b, c = 1 - e^{-2.2 / (f_s \tau)}""",
    "limiter": r"""r[n] = \min\left(1, \frac{\mathrm{ceiling}}{\max_c |x_c[n]|}\right), \qquad m[n] = \min(r[n], \ldots, r[n + A]) \\
e[n] = m[n] \text{ where that is lower, else } e[n-1] + c\,(m[n] - e[n-1]) \\
g[n] = \frac{1}{A + 1} \sum_{k=0}^{A} e[n - k] \le r[n], \qquad y[n] = g[n]\,x[n]""",
    "clip": r"""y = \min\left(\max(x, -L), L\right), \qquad L = 10^{\mathrm{ceiling}/20}""",
    "distortion": r"""s(x) = \tanh(g x + b) - \tanh b, \qquad y = o\,\frac{2\,s(x)}{s(1) - s(-1)}, \qquad g = 10^{\mathrm{drive}/20}""",
    "reverb": r"""w_c = \mathrm{allpass}_4\left(\sum_{k=1}^{8} \mathrm{comb}_k\left(0.09\,\bar{x}\right)\right), \qquad
y_c = \mathrm{dry}\,x_c + \mathrm{wet}\left(\mathrm{width}\,w_c + (1 - \mathrm{width})\,\bar{w}\right)""",
    "room": r"""h(t) = \sum_b n_b(t)\,10^{-3 t / T_b}, \qquad T_b = \frac{\mathrm{rt60}}{1 + \mathrm{damping}\,f_b / 4000\,\mathrm{Hz}} \\
y = x + 10^{\mathrm{wet}/20}\,h * x""",
    "delay": r"""d[n] = x[n - D] + \mathrm{feedback}\;d[n - D], \qquad y[n] = (1 - \mathrm{mix})\,x[n] + \mathrm{mix}\;d[n]""",
    "chorus": r"""u[n] = x[n] + \mathrm{feedback}\;w[n-1], \qquad w[n] = u(n - d[n]) \\
y[n] = (1 - \mathrm{mix})\,x[n] + \mathrm{mix}\;w[n] \\
d[n] = \max\left(\mathrm{centre} + \mathrm{swing}\,s[n], \min(1\,\mathrm{ms}, \mathrm{centre})\right)\,(1 + \mathrm{depth}\;s[n]) \\
s[n] = \sin\left(2\pi\left(\mathrm{rate}\,n / f_s + \mathrm{phase}\right)\right)""",
    "codec": r"""y = \frac{1}{k}\,\mathrm{decode}(\mathrm{encode}(k\,x)), \qquad k = 10^{\mathrm{level}/20}""",
    "noise": r"""y_c = x_c + 10^{-\mathrm{snr}/20}\,r\,n_c, \qquad r^2 = \frac{1}{C T} \sum_{c, t} x_c[t]^2, \qquad
\frac{1}{C T} \sum_{c, t} n_c[t]^2 = 1""",
    "dc": r"""y_c = x_c + \mathrm{offset}\,\max_{c, t} |x_c[t]|""",
    "envelope": r"""y(t) = 10^{g(t) / 20}\,x(t), \qquad
g(t) = \sum_k \mathrm{gain}_k \max\left(0, 1 - \left|t / \mathrm{step} - (k - 1)\right|\right) \\
g(t) = \mathrm{gain}_{32} \text{ from } 31\,\mathrm{step} \text{ on}""",
    "loudness": r"""y = 10^{(\mathrm{target} - \ell(x)) / 20}\,x, \qquad \ell(x) = \text{integrated loudness (BS.1770) or peak of } x""",
}
