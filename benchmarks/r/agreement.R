# Prints name,value for what the group level computes too; the tables come from bench_agreement.py.
suppressPackageStartupMessages({
  library(lmerTest); library(emmeans); library(sandwich); library(metafor); library(psych); library(pROC); library(car)
})
args <- commandArgs(trailingOnly = TRUE)
cohort <- read.csv(args[1]); visits <- read.csv(args[2]); scores <- as.matrix(read.csv(args[3]))
put <- function(name, value) cat(sprintf("%s,%.15g\n", name, value), sep = "")

a <- cohort$y[cohort$group == "control"]; b <- cohort$y[cohort$group == "patient"]
welch <- t.test(b, a); put(c("welch t", "welch df", "welch p"), c(welch$statistic, welch$parameter, welch$p.value))
student <- t.test(b, a, var.equal = TRUE); put("student p", student$p.value)
w <- wilcox.test(b, a, conf.int = TRUE)
put(c("mann-whitney p", "mann-whitney shift", "mann-whitney low", "mann-whitney high"), c(w$p.value, w$estimate, w$conf.int))
one <- oneway.test(y ~ group, cohort); put(c("welch anova F", "welch anova p"), c(one$statistic, one$p.value))
put("kruskal-wallis p", kruskal.test(y ~ factor(group), cohort)$p.value)
counts <- table(cohort$sex, cohort$group); put("chi-square p", chisq.test(counts, correct = FALSE)$p.value)
put(c("holm 1", "holm 2", "holm 3"), p.adjust(c(.01, .04, .03), "holm"))

m <- lm(y ~ group + age + sex + site, cohort); v <- vcovHC(m, "HC3")
pair <- summary(pairs(emmeans(m, "group", vcov. = v), reverse = TRUE, adjust = "none"), infer = TRUE)[2, ]
put(c("adjusted difference", "adjusted low", "adjusted high", "adjusted p"),
    c(pair$estimate, pair$lower.CL, pair$upper.CL, pair$p.value))
wald <- linearHypothesis(m, c("groupmild=0", "grouppatient=0"), vcov. = v, test = "F")
put(c("adjusted omnibus F", "adjusted omnibus p"), c(wald$F[2], wald$`Pr(>F)`[2]))

for (random in c("(1 | person)", "(1 + time | person)")) {
  fit <- lmer(as.formula(paste("y ~ group * time + age +", random)), visits)
  found <- coef(summary(fit)); kind <- if (random == "(1 | person)") "mixed" else "mixed slopes"
  for (term in c("grouppatient", "time", "grouppatient:time"))
    put(paste(kind, term, c("estimate", "se", "df", "p")), found[term, c("Estimate", "Std. Error", "df", "Pr(>|t|)")])
}

r <- rma(yi = cohort$y, sei = cohort$y_se, mods = ~ group + age, data = cohort, method = "REML", test = "knha")
put(c("random effects tau2", "random effects patient", "random effects se", "random effects p"),
    c(r$tau2, r$beta["grouppatient", 1], r$se[3], r$pval[3]))

icc <- ICC(scores)$results
put(c("ICC(2,1)", "ICC(2,1) low", "ICC(2,1) high"), unlist(icc[2, c("ICC", "lower bound", "upper bound")]))
put(c("ICC(3,1)", "ICC(3,1) low", "ICC(3,1) high"), unlist(icc[3, c("ICC", "lower bound", "upper bound")]))

curve <- roc(response = rep(0:1, c(length(a), length(b))), predictor = c(a, b), quiet = TRUE)
put(c("AUC", "AUC se"), c(as.numeric(auc(curve)), sqrt(var(curve, method = "delong"))))
two <- cohort[cohort$group != "mild", ]; two$patient <- two$group == "patient"
two$z <- (two$y - mean(two$y)) / sd(two$y)
logit <- coef(summary(glm(patient ~ z + age + sex, binomial, two)))
put(c("logistic odds ratio", "logistic p"), c(exp(logit["z", 1]), logit["z", 4]))
